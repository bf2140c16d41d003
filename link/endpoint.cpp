#include "link/endpoint.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "link/ipc_dealer.h"
#include "link/zmq_dealer.h"

namespace turnstile {
namespace {

constexpr std::size_t kMaxSocketPath = sizeof(sockaddr_un::sun_path) - 1;

std::filesystem::path directory_of(const std::string& path) {
  const auto directory = std::filesystem::path(path).parent_path();
  return directory.empty() ? "." : directory;
}

bool is_default(const std::string& path) {
  return std::string(kIpc) + path == default_broker_endpoint();
}

bool others_may_write(const struct stat& info) {
  return (info.st_mode & (S_IWGRP | S_IWOTH)) != 0;
}

}  // namespace

std::string default_broker_endpoint() {
  const char* runtime = std::getenv("XDG_RUNTIME_DIR");
  if (runtime != nullptr && *runtime == '/') {
    std::string endpoint = std::string(kIpc) + runtime + "/turnstile/broker.sock";
    if (check_socket_path(endpoint)) {
      return endpoint;
    }
  }
  return std::string(kIpc) + "/tmp/turnstile-" + std::to_string(::geteuid()) + "/broker.sock";
}

Result<void> check_default_directory(const std::string& path) {
  struct stat info {};
  const std::string directory = directory_of(path).string();
  if (!is_default(path) || ::lstat(directory.c_str(), &info) != 0) {
    return {};
  }
  const std::string other = "give --broker a socket in a directory of your own";
  if (!S_ISDIR(info.st_mode)) {
    return fail(Errc::unreachable,
                directory + ", the directory of the default socket, is not a directory",
                "remove it if it is yours, or " + other);
  }
  if (info.st_uid != ::geteuid()) {
    return fail(Errc::unreachable,
                directory + ", the directory of the default socket, belongs to user " +
                    std::to_string(info.st_uid) + ", who could receive your rows",
                "have it removed, or " + other);
  }
  if ((info.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
    return fail(Errc::unreachable,
                "others may enter " + directory + ", the directory of the default socket",
                "chmod 700 " + directory + ", or " + other);
  }
  return {};
}

Result<void> check_directory_for_listening(const std::string& path) {
  if (auto checked = check_default_directory(path); !checked) {
    return checked;
  }
  struct stat info {};
  const std::string directory = directory_of(path).string();
  if (::stat(directory.c_str(), &info) != 0) {
    return {};
  }
  if (!S_ISDIR(info.st_mode)) {
    return fail(Errc::unreachable, directory + " is not a directory",
                "Give --broker another path.");
  }
  const bool is_sticky = (info.st_mode & S_ISVTX) != 0;
  const bool owner_is_trusted = info.st_uid == ::geteuid() || info.st_uid == 0;
  if (!others_may_write(info) || (is_sticky && owner_is_trusted)) {
    return {};
  }
  if (!owner_is_trusted) {
    return fail(Errc::unreachable,
                "the socket's directory " + directory + " belongs to user " +
                    std::to_string(info.st_uid) + ", who could replace the socket",
                "Give --broker a path in a directory of your own.");
  }
  return fail(Errc::unreachable, "others may write in the socket's directory " + directory,
              "chmod 700 " + directory + ", or give --broker a directory of your own.");
}

Result<void> check_broker_user(const std::string& path, int fd) {
  struct stat info {};
  const std::string directory = directory_of(path).string();
  if (!is_default(path) && ::stat(directory.c_str(), &info) == 0 && !others_may_write(info)) {
    return {};
  }
  ucred broker{};
  socklen_t size = sizeof(broker);
  const bool is_known = ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &broker, &size) == 0;
  if (is_known && (broker.uid == ::geteuid() || broker.uid == 0)) {
    return {};
  }
  return fail(Errc::unreachable,
              "the broker at " + path + " runs as " +
                  (is_known ? "user " + std::to_string(broker.uid) : "an unknown user") +
                  ", and others may put a socket into " + directory,
              "use a broker of your own, or have it listen in a directory where only its user may "
              "write");
}

Result<void> check_socket_path(std::string_view endpoint) {
  if (!endpoint.starts_with(kIpc) || endpoint.size() - kIpc.size() <= kMaxSocketPath) {
    return {};
  }
  const std::string path(endpoint.substr(kIpc.size()));
  return fail(Errc::bad_input,
              "the socket path '" + path + "' has " + std::to_string(path.size()) +
                  " bytes; the kernel takes at most " + std::to_string(kMaxSocketPath),
              "use a shorter directory, or a path relative to the working directory");
}

Result<std::unique_ptr<Link>> connect_to_broker(const std::string& endpoint, Spin spin) {
  const auto as_link = [](auto link) -> std::unique_ptr<Link> { return link; };
  if (endpoint.starts_with(kIpc)) {
    return IpcDealer::connect(endpoint, spin).map(as_link);
  }
  return ZmqDealer::connect(endpoint).map(as_link);
}

}  // namespace turnstile
