#include "broker/connections.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <malloc.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <vector>

// In place of the C library's, for ZeroMQ: connections.h says why.
extern "C" int accept4(int fd, sockaddr* address, socklen_t* size, int flags) {
  const auto accepted = static_cast<int>(::syscall(SYS_accept4, fd, address, size, flags));
  if (accepted < 0 && errno == EMFILE) {
    errno = ENFILE;
  }
  return accepted;
}

namespace turnstile::broker {
namespace {

constexpr std::size_t kUnreadBytes = std::size_t{1024} * 1024;
constexpr std::size_t kLookBytes = std::size_t{64} * 1024;
constexpr std::size_t kMessageOverhead = 128;  // in ZeroMQ's queue
constexpr std::size_t kMostErrors = 1000;

std::vector<int> open_descriptors() {
  std::vector<int> out;
  std::error_code code;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", code)) {
    out.push_back(std::atoi(entry.path().filename().c_str()));
  }
  return out;
}

std::optional<sockaddr_storage> name_of(int fd) {
  sockaddr_storage name{};
  socklen_t size = sizeof(name);
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&name), &size) != 0) {
    return std::nullopt;
  }
  return name;
}

bool is_listening(int fd) {
  int listens = 0;
  socklen_t size = sizeof(listens);
  return ::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens != 0;
}

bool is_of(const sockaddr_storage& name, const std::string& endpoint) {
  constexpr std::string_view kIpc = "ipc://";
  if (name.ss_family == AF_UNIX) {
    return endpoint == std::string(kIpc) + reinterpret_cast<const sockaddr_un*>(&name)->sun_path;
  }
  const auto port = ntohs(reinterpret_cast<const sockaddr_in*>(&name)->sin_port);
  return endpoint.starts_with("tcp://") && endpoint.ends_with(":" + std::to_string(port));
}

// An accepted socket has its listener's path, or port.
bool same_door(const sockaddr_storage& a, const sockaddr_storage& b) {
  if (a.ss_family != b.ss_family) {
    return false;
  }
  if (a.ss_family == AF_UNIX) {
    const auto* left = reinterpret_cast<const sockaddr_un*>(&a);
    const auto* right = reinterpret_cast<const sockaddr_un*>(&b);
    return std::strncmp(left->sun_path, right->sun_path, sizeof(left->sun_path)) == 0;
  }
  // The port is at the same place for IPv4 and IPv6.
  return reinterpret_cast<const sockaddr_in*>(&a)->sin_port ==
         reinterpret_cast<const sockaddr_in*>(&b)->sin_port;
}

}  // namespace

void Connections::listening(const std::string& endpoint) {
  for (const int fd : open_descriptors()) {
    const auto name = name_of(fd);
    if (name && is_listening(fd) && is_of(*name, endpoint)) {
      name_ = name;
    }
  }
}

void Connections::add(const Route& route, int fd) {
  if (fd < 0) {
    return;  // of this process
  }
  if (const auto before = routes_.find(fd); before != routes_.end()) {
    connections_.erase(before->second);
  }
  routes_[fd] = route;
  connections_[route] = Connection{fd, 0, kLookBytes, 0, 0};
}

bool Connections::takes(const Route& route, std::size_t bytes) {
  const auto found = connections_.find(route);
  if (found == connections_.end()) {
    return true;
  }
  Connection& connection = found->second;
  connection.unread += bytes + kMessageOverhead;
  if (connection.unread < connection.next_look) {
    return true;
  }
  // Who reads leaves another number each time, or none.
  int queued = 0;
  if (::ioctl(connection.fd, SIOCOUTQ, &queued) != 0 || queued != connection.queued ||
      queued == 0) {
    connection.queued = queued;
    connection.unread = 0;
    connection.next_look = kLookBytes;
    return true;
  }
  connection.next_look = connection.unread + kLookBytes;
  return connection.unread < kUnreadBytes;
}

bool Connections::may_err(const Route& route) {
  const auto found = connections_.find(route);
  return found == connections_.end() || ++found->second.errors < kMostErrors;
}

// ZeroMQ's thread sees the end of the stream and closes the descriptor itself.
void Connections::cut(const Route& route) {
  if (const auto found = connections_.find(route); found != connections_.end()) {
    ::shutdown(found->second.fd, SHUT_RDWR);
  }
}

std::size_t Connections::cut_where(const std::function<bool(const Route*)>& wanted) const {
  std::size_t count = 0;
  for (const int fd : open_descriptors()) {
    const auto name = name_of(fd);
    if (!name_ || !name || is_listening(fd) || !same_door(*name, *name_)) {
      continue;
    }
    const auto route = routes_.find(fd);
    if (wanted(route == routes_.end() ? nullptr : &route->second)) {
      ::shutdown(fd, SHUT_RDWR);
      ++count;
    }
  }
  return count;
}

void allow_all_descriptors() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    // Where it is not allowed the limit stays, and has_free_descriptor() tells when it is reached.
    static_cast<void>(::setrlimit(RLIMIT_NOFILE, &limit));
  }
}

bool has_free_descriptor() {
  const int fd = ::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
  if (fd >= 0) {
    ::close(fd);
  }
  return fd >= 0 || errno != EMFILE;
}

std::size_t heap_bytes() {
  const struct mallinfo2 info = ::mallinfo2();
  return info.uordblks + info.hblkhd;
}

std::size_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  std::size_t all = 0;
  std::size_t resident = 0;
  statm >> all >> resident;
  return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

void release_free_memory() {
  ::malloc_trim(0);
}

}  // namespace turnstile::broker
