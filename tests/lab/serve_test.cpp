// `turnstile lab serve`, with requests as browsers and other programs send them.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cctype>
#include <memory>
#include <optional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/e2e/harness.h"

namespace turnstile::e2e {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using Clock = std::chrono::steady_clock;

class Socket {
 public:
  explicit Socket(std::uint16_t port, int receive_bytes = 0)
      : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    if (receive_bytes > 0) {
      ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof(receive_bytes));
    }
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
      throw std::runtime_error("cannot connect");
    }
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket() { ::close(fd_); }

  void send(const std::string& text) const {
    std::size_t sent = 0;
    while (sent < text.size()) {
      const ssize_t now = ::send(fd_, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
      if (now <= 0) {
        return;  // the server closed the connection
      }
      sent += static_cast<std::size_t>(now);
    }
  }

  // Reads until `is_done`, or until the server closes the connection. False after a timeout.
  bool read_until(const std::function<bool(const std::string&)>& is_done) {
    const auto until = Clock::now() + kPatience;
    while (!is_done(text_) && Clock::now() < until) {
      pollfd item{fd_, POLLIN, 0};
      ::poll(&item, 1, 1000);
      if ((item.revents & (POLLIN | POLLHUP)) == 0) {
        continue;
      }
      std::array<char, 65536> bytes{};
      const ssize_t got = ::read(fd_, bytes.data(), bytes.size());
      if (got <= 0) {
        return is_done(text_);
      }
      text_.append(bytes.data(), static_cast<std::size_t>(got));
    }
    return is_done(text_);
  }
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  int fd_;
  std::string text_;
};

struct Reply {
  int status = 0;
  std::string head;
  std::string body;
};

class Serve : public ::testing::Test {
 protected:
  void SetUp() override {
    process_.emplace(folder_, "serve", std::vector<std::string>{"lab", "serve", "--port", "0"});
    ASSERT_TRUE(folder_.wait_until([&] { return process_->out().ends_with("it)\n"); }, &*process_))
        << process_->err();
    const std::string out = process_->out();
    const std::string start = "http://127.0.0.1:";
    port_ = static_cast<std::uint16_t>(std::stoi(out.substr(out.find(start) + start.size())));
    const std::string name = "/#token=";
    const auto at = out.find(name);
    ASSERT_NE(at, std::string::npos) << out;
    token_ = out.substr(at + name.size(), 32);
  }

  void TearDown() override {
    process_->signal(SIGTERM);
    EXPECT_EQ(process_->wait(), 0) << process_->err();
  }

  [[nodiscard]] std::string own() const { return "127.0.0.1:" + std::to_string(port_); }

  Reply ask(const std::string& request) const {
    Socket socket(port_);
    socket.send(request);
    socket.read_until([](const std::string&) { return false; });
    Reply reply;
    const std::string& text = socket.text();
    const auto end = text.find("\r\n\r\n");
    if (text.starts_with("HTTP/1.1 ") && end != std::string::npos) {
      reply = {std::stoi(text.substr(9, 3)), text.substr(0, end), text.substr(end + 4)};
    }
    return reply;
  }

  Reply get(const std::string& path, const std::string& more = {}) const {
    return ask("GET " + path + " HTTP/1.1\r\nHost: " + own() + "\r\nConnection: close\r\n" + more +
               "\r\n");
  }

  [[nodiscard]] Reply post(const std::string& path, const std::string& body,
                           const std::string& token, const std::string& more = {}) const {
    return ask("POST " + path + " HTTP/1.1\r\nHost: " + own() + "\r\nConnection: close\r\n" +
               "Content-Type: application/json\r\nTurnstile-Token: " + token +
               "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" + more + "\r\n" +
               body);
  }

  // A listener of the stream, past its greeting.
  [[nodiscard]] std::unique_ptr<Socket> listen(int receive_bytes = 0) const {
    auto socket = std::make_unique<Socket>(port_, receive_bytes);
    socket->send("GET /api/events HTTP/1.1\r\nHost: " + own() + "\r\n\r\n");
    EXPECT_TRUE(socket->read_until(
        [](const std::string& text) { return text.find("event: hello") != std::string::npos; }));
    return socket;
  }

  Folder folder_;
  std::optional<Process> process_;
  std::uint16_t port_ = 0;
  std::string token_;
};

std::vector<json> data_of(const std::string& text, const std::string& event) {
  std::vector<json> found;
  const std::string start = "event: " + event + "\ndata: ";
  for (auto at = text.find(start); at != std::string::npos; at = text.find(start, at + 1)) {
    const auto from = at + start.size();
    found.push_back(json::parse(text.substr(from, text.find('\n', from) - from)));
  }
  return found;
}

constexpr const char* kQuick = R"({"scenario":"quick"})";

TEST_F(Serve, OtherHostsAndOriginsAreRefused) {
  const auto with_host = [&](const std::string& host) {
    return ask("GET / HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n").status;
  };
  EXPECT_EQ(with_host(own()), 200);
  EXPECT_EQ(with_host("localhost:" + std::to_string(port_)), 200);
  EXPECT_EQ(with_host("evil.example:" + std::to_string(port_)), 403);
  EXPECT_EQ(with_host("127.0.0.1"), 403);
  EXPECT_EQ(with_host("127.0.0.1:1"), 403);
  EXPECT_EQ(with_host("evil127.0.0.1:" + std::to_string(port_)), 403);
  EXPECT_EQ(ask("GET / HTTP/1.1\r\nConnection: close\r\n\r\n").status, 403);

  EXPECT_EQ(get("/api/scenarios", "Origin: http://" + own() + "\r\n").status, 200);
  for (const std::string origin :
       {"http://evil.example", "null", "", "https://127.0.0.1", "http://127.0.0.1:1"}) {
    EXPECT_EQ(get("/api/scenarios", "Origin: " + origin + "\r\n").status, 403) << origin;
    EXPECT_EQ(get("/api/events", "Origin: " + origin + "\r\n").status, 403) << origin;
    EXPECT_EQ(post("/api/run", kQuick, token_, "Origin: " + origin + "\r\n").status, 403) << origin;
  }
}

TEST_F(Serve, PostWithoutTheTokenIsRefused) {
  EXPECT_EQ(post("/api/run", kQuick, "").status, 403);
  EXPECT_EQ(post("/api/run", kQuick, std::string(32, '0')).status, 403);
  EXPECT_EQ(post("/api/stop", "{}", token_ + "0").status, 403);
  EXPECT_EQ(ask("POST /api/run HTTP/1.1\r\nHost: " + own() +
                "\r\nConnection: close\r\nContent-Type: text/plain\r\nTurnstile-Token: " + token_ +
                "\r\nContent-Length: 20\r\n\r\n" + kQuick)
                .status,
            415);
  EXPECT_THAT(listen()->text(), HasSubstr("\"running\":false"));
}

TEST_F(Serve, LargeBodiesAndMalformedRequestsAreRefused) {
  EXPECT_EQ(post("/api/run", std::string(16 * 1024 + 1, ' '), token_).status, 413);
  const std::string start = "POST /api/run HTTP/1.1\r\nHost: " + own() +
                            "\r\nContent-Type: application/json\r\nTurnstile-Token: " + token_ +
                            "\r\n";
  std::string chunked = start + "Transfer-Encoding: chunked\r\n\r\n";
  for (int i = 0; i < 20; ++i) {
    chunked += "400\r\n" + std::string(1024, 'x') + "\r\n";
  }
  EXPECT_EQ(ask(chunked).status, 413);
  EXPECT_EQ(ask(start + "Content-Length: 99999999999999\r\n\r\n").status, 413);
  EXPECT_EQ(get("/", "X: " + std::string(20'000, 'x') + "\r\n").status, 431);
  EXPECT_EQ(ask("hello\r\n\r\n").status, 400);
}

TEST_F(Serve, AWrongRequestGetsAReason) {
  for (const char* body :
       {"", "[]", "{", R"({"scenario":1})", R"({"scenario":"none"})",
        R"({"scenario":"quick","modes":[]})", R"({"scenario":"quick","modes":["immediate"]})",
        R"({"scenario":"quick","modes":"direct"})", R"({"scenario":"quick","settings":[]})",
        R"({"scenario":"quick","settings":{"rows":3}})",
        R"({"scenario":"crowd","settings":{"processes":65}})",
        R"({"scenario":"quick","settings":{"journal":"memory"}})"}) {
    const Reply reply = post("/api/run", body, token_);
    EXPECT_EQ(reply.status, 400) << body;
    EXPECT_FALSE(json::parse(reply.body)["error"].get<std::string>().empty()) << body;
  }
  EXPECT_EQ(get("/none").status, 404);
  EXPECT_EQ(get("/api/run").status, 405);
  EXPECT_EQ(post("/api/scenarios", "{}", token_).status, 405);
  EXPECT_EQ(get("/api/report").status, 404);
}

// Every user of the machine can connect to loopback.
TEST_F(Serve, NoAnswerHoldsTheToken) {
  ASSERT_EQ(token_.size(), 32U);
  for (const char* path : {"/", "/index.html", "/app.js", "/api/scenarios", "/api/numbers"}) {
    const Reply reply = get(path, "Turnstile-Token: none\r\n");
    EXPECT_EQ(reply.status, 200) << path;
    EXPECT_THAT(reply.head + reply.body, Not(HasSubstr(token_))) << path;
  }
  EXPECT_THAT(listen()->text(), Not(HasSubstr(token_)));
}

TEST_F(Serve, ThePageMayLoadNothingFromOtherHosts) {
  const Reply page = get("/");
  EXPECT_THAT(
      page.head,
      AllOf(HasSubstr("default-src 'none'; script-src 'self'"), HasSubstr("frame-ancestors 'none'"),
            HasSubstr("X-Content-Type-Options: nosniff"), HasSubstr("Content-Type: text/html")));
  EXPECT_THAT(get("/lanes.js").head, HasSubstr("Content-Type: text/javascript"));
  EXPECT_THAT(get("/style.css").head, HasSubstr("Content-Type: text/css"));
  const json all = json::parse(get("/api/scenarios").body);
  EXPECT_EQ(all["scenarios"].size(), 7U);
}

TEST_F(Serve, StreamedEventsAgreeWithTheEndOfTheRun) {
  const auto listener = listen();
  const Reply started = post("/api/run", kQuick, token_);
  ASSERT_EQ(started.status, 202) << started.body;
  const json runs = json::parse(started.body)["runs"];
  ASSERT_EQ(runs.size(), 2U);
  EXPECT_EQ(post("/api/run", kQuick, token_).status, 409);
  ASSERT_TRUE(listener->read_until(
      [](const std::string& text) { return text.find("event: idle") != std::string::npos; }));
  const auto ended = data_of(listener->text(), "ended");
  ASSERT_EQ(ended.size(), 2U);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(ended[i]["run"], runs[i]["run"]);
    EXPECT_EQ(ended[i]["mode"], runs[i]["mode"]);
    EXPECT_EQ(ended[i]["numbers"]["in_database"], 6);
    EXPECT_TRUE(ended[i]["agrees"].get<bool>());
    int committed = 0;
    for (const json& segments : data_of(listener->text(), "segments")) {
      for (const json& one : segments["done"]) {
        committed += segments["run"] == runs[i]["run"] && one[1][0] == "c" ? 1 : 0;
      }
    }
    EXPECT_GT(committed, 0);
  }
  // A later client gets the same.
  const auto late = listen();
  ASSERT_TRUE(
      late->read_until([](const std::string& text) { return data_of(text, "ended").size() == 2; }));
  EXPECT_EQ(data_of(late->text(), "ended"), ended);
  EXPECT_THAT(get("/api/report").body, HasSubstr("<title>Turnstile lab: report</title>"));
  EXPECT_EQ(json::parse(get("/api/numbers").body)["runs"].size(), 2U);
}

TEST_F(Serve, ModesRunOneByOneAppearTogetherUntilTheSettingsChange) {
  const auto run = [&](const std::string& body) {
    const auto listener = listen();
    const Reply started = post("/api/run", body, token_);
    EXPECT_EQ(started.status, 202) << started.body;
    EXPECT_TRUE(listener->read_until(
        [](const std::string& text) { return text.find("event: idle") != std::string::npos; }));
    EXPECT_EQ(data_of(listener->text(), "ended").back()["run"],
              json::parse(started.body)["runs"][0]["run"]);
    std::vector<std::pair<json, json>> shown;  // run, mode
    const json numbers = json::parse(get("/api/numbers").body);
    for (const json& one : numbers["runs"]) {
      shown.emplace_back(one["run"], one["mode"]);
    }
    return shown;
  };
  using Shown = std::vector<std::pair<json, json>>;
  EXPECT_EQ(run(R"({"scenario":"quick","modes":["queued"]})"), (Shown{{1, "queued"}}));
  EXPECT_EQ(run(R"({"scenario":"quick","modes":["direct"]})"),
            (Shown{{2, "direct"}, {1, "queued"}}));
  EXPECT_EQ(run(R"({"scenario":"quick","modes":["queued"]})"),
            (Shown{{2, "direct"}, {3, "queued"}}));
  EXPECT_EQ(run(R"({"scenario":"quick","modes":["direct"],"settings":{"journal":"wal"}})"),
            (Shown{{4, "direct"}}));
}

TEST_F(Serve, StopEndsTheRunWithinSeconds) {
  const auto listener = listen();
  ASSERT_EQ(post("/api/run", R"({"scenario":"slow"})", token_).status, 202);
  ASSERT_TRUE(listener->read_until(
      [](const std::string& text) { return text.find("[\"h\",") != std::string::npos; }));
  EXPECT_EQ(post("/api/stop", "{}", token_).status, 202);
  ASSERT_TRUE(listener->read_until(
      [](const std::string& text) { return text.find("event: idle") != std::string::npos; }));
  const auto ended = data_of(listener->text(), "ended");
  ASSERT_EQ(ended.size(), 1U);  // the other mode did not begin
  EXPECT_TRUE(ended[0]["stopped"].get<bool>());
  EXPECT_TRUE(ended[0]["agrees"].get<bool>()) << ended[0];
}

// Stops mostly while broker and consumer start: a signal that arrives between fork and exec must
// not be lost.
TEST_F(Serve, StopBeforeTheRunBeginsEndsItImmediately) {
  for (int round = 0; round < 5; ++round) {
    const auto listener = listen();
    ASSERT_EQ(post("/api/run", R"({"scenario":"slow","modes":["queued","direct"]})", token_).status,
              202);
    const auto asked = Clock::now();
    ASSERT_EQ(post("/api/stop", "{}", token_).status, 202);
    ASSERT_TRUE(listener->read_until(
        [](const std::string& text) { return text.find("event: idle") != std::string::npos; }));
    EXPECT_LT(Clock::now() - asked, 8s);  // a process that ignores the signal is killed after 10 s
    EXPECT_THAT(listener->text(), Not(HasSubstr("event: failed")));
  }
}

TEST_F(Serve, StoppingTheServerEndsItsRun) {
  const auto listener = listen();
  ASSERT_EQ(post("/api/run", R"({"scenario":"slow"})", token_).status, 202);
  ASSERT_TRUE(listener->read_until(
      [](const std::string& text) { return text.find("[\"h\",") != std::string::npos; }));
  // TearDown stops the server and expects exit code 0.
}

TEST_F(Serve, FiftyIdleListenersDoNotDelayAnother) {
  std::vector<std::unique_ptr<Socket>> idle;
  for (int i = 0; i < 50; ++i) {
    idle.push_back(listen(4096));  // never reads again
  }
  const auto listener = listen();
  ASSERT_EQ(
      post("/api/run", R"({"scenario":"crowd","settings":{"processes":24,"rows":60}})", token_)
          .status,
      202);
  ASSERT_TRUE(listener->read_until(
      [](const std::string& text) { return text.find("event: idle") != std::string::npos; }));
  EXPECT_EQ(data_of(listener->text(), "ended").size(), 2U);
  const auto asked = Clock::now();
  EXPECT_EQ(get("/api/scenarios").status, 200);
  EXPECT_LT(Clock::now() - asked, 2s);
}

}  // namespace
}  // namespace turnstile::e2e
