#include "link/listen_socket.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string_view>
#include <utility>

#include "link/endpoint.h"

namespace turnstile {
namespace {

Error cannot_listen(const std::string& endpoint, const std::string& why) {
  return {Errc::unreachable, "cannot listen on " + endpoint + ": " + why,
          "Is another program listening there? Give --broker another endpoint."};
}

Descriptor stream_socket(int family) {
  return Descriptor(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
}

// Removes the socket of a broker that has ended: the caller holds that socket's lock. Anything else
// at the path stays, unless it is an empty file.
bool remove_old_socket(const std::string& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) {
    return errno == ENOENT;
  }
  const bool is_ours = S_ISSOCK(info.st_mode) || (S_ISREG(info.st_mode) && info.st_size == 0);
  return is_ours && ::unlink(path.c_str()) == 0;
}

struct HostPort {
  std::string host;
  std::string port;
  bool is_ipv6;
};

std::optional<HostPort> split_address(std::string_view address) {
  const auto colon = address.rfind(':');
  if (colon == std::string_view::npos || colon == 0 || colon + 1 == address.size()) {
    return std::nullopt;
  }
  HostPort out{std::string(address.substr(0, colon)), std::string(address.substr(colon + 1)),
               address.front() == '['};
  if (out.is_ipv6 && out.host.back() == ']') {
    out.host = out.host.substr(1, out.host.size() - 2);
  }
  if (out.port == "*") {
    out.port = "0";
  }
  return out;
}

// With a numeric host.
std::string tcp_endpoint_of(int fd) {
  constexpr std::size_t kPortBytes = 16;
  sockaddr_storage name{};
  socklen_t size = sizeof(name);
  std::array<char, NI_MAXHOST> host{};
  std::array<char, kPortBytes> port{};
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&name), &size) != 0 ||
      ::getnameinfo(reinterpret_cast<const sockaddr*>(&name), size, host.data(), host.size(),
                    port.data(), port.size(), NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return {};
  }
  const std::string text = host.data();
  return std::string(kTcp) + (name.ss_family == AF_INET6 ? "[" + text + "]" : text) + ":" +
         port.data();
}

}  // namespace

ListenSocket::~ListenSocket() {
  if (!path_.empty() && path() == Path::ours) {
    ::unlink(path_.c_str());
  }
}

Result<void> ListenSocket::listen(const std::string& endpoint) {
  endpoint_ = endpoint;
  if (endpoint.starts_with(kTcp)) {
    return listen_at_port(endpoint.substr(kTcp.size()));
  }
  if (!endpoint.starts_with(kIpc)) {
    return fail(Errc::bad_input, "cannot listen on '" + endpoint + "'", kEndpointHint);
  }
  const std::string path = endpoint.substr(kIpc.size());
  if (!remove_old_socket(path)) {
    return tl::make_unexpected(cannot_listen(endpoint_, "there is a file of that name"));
  }
  return listen_at_path(path);
}

Result<void> ListenSocket::listen_again() {
  return listen_at_path(std::string(path_));
}

ListenSocket::Path ListenSocket::path() const {
  if (path_.empty()) {
    return Path::ours;
  }
  const auto there = identity_of_name(path_);
  if (!there) {
    return Path::gone;
  }
  return there == at_path_ ? Path::ours : Path::taken;
}

Result<void> ListenSocket::listen_at_path(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    return tl::make_unexpected(cannot_listen(endpoint_, std::strerror(ENAMETOOLONG)));
  }
  std::memcpy(address.sun_path, path.c_str(), path.size());
  Descriptor fd = stream_socket(AF_UNIX);
  const mode_t mask = ::umask(0077);  // promise 10
  const bool is_bound =
      fd && ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  const int problem = errno;
  ::umask(mask);
  if (!is_bound) {
    return tl::make_unexpected(cannot_listen(endpoint_, std::strerror(problem)));
  }
  path_ = path;
  at_path_ = identity_of_name(path);
  if (::listen(fd.get(), SOMAXCONN) != 0) {
    return tl::make_unexpected(cannot_listen(endpoint_, std::strerror(errno)));
  }
  fd_ = std::move(fd);
  return {};
}

Result<void> ListenSocket::listen_at_port(const std::string& address) {
  const auto parts = split_address(address);
  if (!parts) {
    return fail(Errc::bad_input, "cannot listen on '" + endpoint_ + "'", kEndpointHint);
  }
  addrinfo hints{};
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  hints.ai_family = parts->is_ipv6 ? AF_INET6 : AF_INET;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int code = ::getaddrinfo(parts->host == "*" ? nullptr : parts->host.c_str(),
                                 parts->port.c_str(), &hints, &found);
  if (code != 0) {
    return tl::make_unexpected(cannot_listen(endpoint_, ::gai_strerror(code)));
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, ::freeaddrinfo);
  Descriptor fd = stream_socket(found->ai_family);
  const int yes = 1;
  if (!fd || ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) != 0 ||
      ::bind(fd.get(), found->ai_addr, found->ai_addrlen) != 0 ||
      ::listen(fd.get(), SOMAXCONN) != 0) {
    return tl::make_unexpected(cannot_listen(endpoint_, std::strerror(errno)));
  }
  endpoint_ = tcp_endpoint_of(fd.get());
  is_tcp_ = true;
  fd_ = std::move(fd);
  return {};
}

}  // namespace turnstile
