#include <algorithm>
#include <array>

#include <nlohmann/json.hpp>

#include "lab/http_server.h"

namespace turnstile::lab {
namespace {

constexpr int kForbidden = 403;
constexpr int kUnsupportedType = 415;

bool is_own_host(std::string_view host, std::uint16_t port) {
  const std::string end = ":" + std::to_string(port);
  constexpr std::array<std::string_view, 3> kNames{"127.0.0.1", "localhost", "[::1]"};
  return std::any_of(kNames.begin(), kNames.end(), [&](std::string_view name) {
    return host.size() == name.size() + end.size() && host.starts_with(name) && host.ends_with(end);
  });
}

// Takes constant time, so that timing does not reveal how much of the secret is right.
bool is_same_secret(std::string_view a, std::string_view b) {
  unsigned difference = a.size() == b.size() ? 0 : 1;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    difference |= static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(b[i]);
  }
  return difference == 0;
}

}  // namespace

HttpAnswer http_error(int status, const std::string& what) {
  const nlohmann::json body{{"error", what}};
  return {status,
          "application/json",
          body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace),
          {}};
}

int HttpGuard::status_for(std::string_view method, std::string_view host, std::string_view origin,
                          bool has_origin, std::string_view token_sent,
                          std::string_view content_type) const {
  constexpr std::string_view kScheme = "http://";
  if (!is_own_host(host, port)) {
    return kForbidden;
  }
  if (has_origin &&
      !(origin.starts_with(kScheme) && is_own_host(origin.substr(kScheme.size()), port))) {
    return kForbidden;
  }
  if (method != "POST") {
    return 0;
  }
  if (!is_same_secret(token_sent, token)) {
    return kForbidden;
  }
  const bool is_json = content_type.substr(0, content_type.find(';')) == "application/json";
  return is_json ? 0 : kUnsupportedType;
}

}  // namespace turnstile::lab
