#include "broker/connections.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <malloc.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <vector>

#include "link/endpoint.h"
#include "link/frames.h"

namespace {

// What came through a descriptor since a message of it was heard(). A descriptor's number may be
// another file's later, which the inode tells. Those beyond the table are not counted.
struct Counter {
  std::atomic<std::size_t> bytes{0};
  std::atomic<ino_t> inode{0};
};
constexpr std::size_t kCounted = std::size_t{64} * 1024;
constexpr std::size_t kNotCounted = 0;
constexpr std::size_t kNothing = 1;
constexpr std::size_t kDoor = SIZE_MAX;  // what it accepts is counted
constexpr std::size_t kMayWait = std::size_t{16} * 1024 * 1024;
std::array<Counter, kCounted> counters;

Counter* counter_of(int fd) {
  const auto index = static_cast<std::size_t>(fd);
  return fd >= 0 && index < kCounted ? &counters[index] : nullptr;
}

ino_t inode_of(int fd) {
  struct stat info {};
  return ::fstat(fd, &info) == 0 ? info.st_ino : 0;
}

bool is_counted(std::size_t bytes) {
  return bytes != kNotCounted && bytes != kDoor;
}

// It goes on without a message, or whoever it was is gone.
bool is_endless(int fd, Counter& counter) {
  static const std::size_t most =
      static_cast<std::size_t>(turnstile::largest_message_bytes()) + kMayWait;
  const std::size_t bytes = counter.bytes;
  if (!is_counted(bytes) || bytes <= most) {
    return false;
  }
  if (counter.inode == inode_of(fd)) {
    return true;
  }
  counter.bytes = kNotCounted;
  return false;
}

}  // namespace

// In place of the C library's, for ZeroMQ: connections.h says why.
// Its declaration names parameters as only the C library may.
// NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name)
extern "C" int accept4(int fd, sockaddr* address, socklen_t* size, int flags) {
  const auto accepted = static_cast<int>(::syscall(SYS_accept4, fd, address, size, flags));
  if (accepted < 0 && errno == EMFILE) {
    errno = ENFILE;
  }
  const Counter* door = counter_of(fd);
  if (Counter* counter = counter_of(accepted); counter != nullptr) {
    counter->inode = inode_of(accepted);
    counter->bytes = door != nullptr && door->bytes == kDoor ? kNothing : kNotCounted;
  }
  return accepted;
}

// NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name)
extern "C" ssize_t recv(int fd, void* into, size_t size, int flags) {
  Counter* const counter = counter_of(fd);
  if (counter != nullptr && is_endless(fd, *counter)) {
    return 0;
  }
  const auto got =
      static_cast<ssize_t>(::syscall(SYS_recvfrom, fd, into, size, flags, nullptr, nullptr));
  if (counter != nullptr && got > 0 && is_counted(counter->bytes)) {
    counter->bytes += static_cast<std::size_t>(got);
  }
  return got;
}

namespace turnstile::broker {
namespace {

constexpr std::size_t kUnreadBytes = std::size_t{1024} * 1024;
constexpr std::size_t kLookBytes = std::size_t{64} * 1024;
constexpr std::size_t kMessageOverhead = 128;  // in ZeroMQ's queue
constexpr std::size_t kMostErrors = 1000;
// Of a connection at once, and then one in a while.
constexpr int kQuestions = 16;
constexpr auto kQuestionEvery = std::chrono::milliseconds(50);

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

void count_anew(int fd) {
  if (Counter* counter = counter_of(fd); counter != nullptr && is_counted(counter->bytes)) {
    counter->bytes = kNothing;
  }
}

bool is_listening(int fd) {
  int listens = 0;
  socklen_t size = sizeof(listens);
  return ::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens != 0;
}

bool is_of(const sockaddr_storage& name, const std::string& endpoint) {
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
      if (Counter* door = counter_of(fd); door != nullptr) {
        door->bytes = kDoor;
      }
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
  Connection connection;
  connection.fd = fd;
  connection.next_look = kLookBytes;
  connection.questions_left = kQuestions;
  connections_[route] = connection;
}

bool Connections::heard(const Route& route) {
  const auto found = connections_.find(route);
  if (found == connections_.end()) {
    return false;
  }
  count_anew(found->second.fd);
  return true;
}

void Connections::exempt(const std::optional<Route>& route) {
  if (route == exempt_) {
    return;
  }
  const auto count_from = [this](std::size_t bytes) {
    const auto found = exempt_ ? connections_.find(*exempt_) : connections_.end();
    Counter* counter = found == connections_.end() ? nullptr : counter_of(found->second.fd);
    if (counter != nullptr && counter->inode == inode_of(found->second.fd)) {
      counter->bytes = bytes;
    }
  };
  count_from(kNothing);
  exempt_ = route;
  count_from(kNotCounted);
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

Connections::Asking Connections::may_ask(const Route& route,
                                         std::chrono::steady_clock::time_point now) {
  const auto found = connections_.find(route);
  if (found == connections_.end()) {
    return Asking::now;
  }
  Connection& connection = found->second;
  if (connection.questions_left == kQuestions) {
    connection.asked = now;
  }
  const auto more = (now - connection.asked) / kQuestionEvery;
  connection.asked += more * kQuestionEvery;
  connection.questions_left =
      static_cast<int>(std::min<std::int64_t>(kQuestions, connection.questions_left + more));
  if (connection.questions_left == 0) {
    return ++connection.put_off < kMostErrors ? Asking::later : Asking::too_often;
  }
  --connection.questions_left;
  connection.put_off = 0;
  return Asking::now;
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
