#include "link/endpoint.h"

#include <sys/un.h>

#include "link/ipc_dealer.h"
#include "link/zmq_dealer.h"

namespace turnstile {
namespace {

constexpr std::size_t kLongestSocketPath = sizeof(sockaddr_un::sun_path) - 1;

}  // namespace

Result<void> check_socket_path(std::string_view endpoint) {
  if (!endpoint.starts_with(kIpc) || endpoint.size() - kIpc.size() <= kLongestSocketPath) {
    return {};
  }
  const std::string path(endpoint.substr(kIpc.size()));
  return fail(Errc::bad_input,
              "the socket path '" + path + "' has " + std::to_string(path.size()) +
                  " bytes; the kernel takes at most " + std::to_string(kLongestSocketPath),
              "use a shorter folder, or a path relative to the working folder");
}

Result<std::unique_ptr<Link>> connect_to_broker(const std::string& endpoint) {
  const auto as_link = [](auto link) -> std::unique_ptr<Link> { return link; };
  if (endpoint.starts_with(kIpc)) {
    return IpcDealer::connect(endpoint).map(as_link);
  }
  return ZmqDealer::connect(endpoint).map(as_link);
}

}  // namespace turnstile
