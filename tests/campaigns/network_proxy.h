// A bad network: a TCP proxy in front of a port, which delays, throttles, splits, cuts and
// half-opens the connections that go through it. One thread, one poll loop.
#pragma once

#include <poll.h>

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace turnstile::campaign {

// How a connection ends, once so many bytes went through it.
enum class End {
  none,          // as its ends want it
  fin,           // closed in order, in the middle of whatever goes through
  reset,         // the same with RST
  swallow_up,    // what the client sends, its FIN included, goes nowhere
  swallow_down,  // what the server sends goes nowhere
  swallow_both,
  black_hole,  // accepted, and never connected to anything
};
inline constexpr std::size_t kEnds = 7;

const char* name_of(End end);

// Of one connection, both directions.
struct Fate {
  std::chrono::microseconds delay{0};
  std::size_t bytes_a_second = 0;  // 0: as fast as it goes
  std::size_t piece = 0;           // bytes a write at most; 0: what is there
  End end = End::none;
  std::uint64_t end_after_bytes = 0;
};

class Proxy {
 public:
  // `draw` is asked for the fate of each new connection, on the proxy's thread.
  Proxy(std::uint16_t target_port, std::function<Fate()> draw);
  Proxy(const Proxy&) = delete;
  Proxy& operator=(const Proxy&) = delete;
  ~Proxy();

  [[nodiscard]] std::string endpoint() const;
  // Ends all present connections so; has happened when this returns.
  void strike(End end);
  [[nodiscard]] std::uint64_t accepted() const { return accepted_; }
  // Until it has accepted so many; false: too late.
  bool wait_for_accepted(std::uint64_t count, std::chrono::milliseconds patience);
  // Listener that ended this way, by fate or strike.
  [[nodiscard]] std::uint64_t ended(End end) const { return ended_.at(index(end)); }

 private:
  using Clock = std::chrono::steady_clock;

  class Socket {
   public:
    explicit Socket(int fd = -1) : fd_(fd) {}
    Socket(Socket&& other) noexcept;
    Socket& operator=(Socket&& other) noexcept;
    ~Socket() { close(); }
    void close();
    [[nodiscard]] int fd() const { return fd_; }
    [[nodiscard]] bool open() const { return fd_ >= 0; }

   private:
    int fd_;
  };
  struct Chunk {
    std::string bytes;
    Clock::time_point due;
  };
  struct Direction {
    std::list<Chunk> chunks;
    std::size_t queued = 0;
    Clock::time_point next_write{};
    bool swallow = false;
    bool at_end = false;    // the sender has closed its half
    bool told_end = false;  // ... and the receiver was told
  };
  struct Connection {
    Socket client;
    Socket server;
    Fate fate;
    Direction up;
    Direction down;
    std::uint64_t bytes = 0;
    bool ended = false;
  };

  static std::size_t index(End end) { return static_cast<std::size_t>(end); }
  void run();
  void accept_one();
  void wait(std::vector<pollfd>& polls);
  static short events_of(const Direction& in, const Direction& out, Clock::time_point now,
                         Clock::time_point& wake);
  void serve(Connection& c, bool client_readable, bool server_readable);
  void read(Connection& c, const Socket& from, Direction& way);
  static void write(Connection& c, const Socket& to, Direction& way, Clock::time_point now);
  void end(Connection& c, End how);
  void strike_all();
  static bool finished(const Connection& c);
  void wake() const;

  std::uint16_t target_port_;
  std::function<Fate()> draw_;
  std::uint16_t port_ = 0;
  Socket listener_;
  Socket wake_;
  std::atomic<std::uint64_t> accepted_{0};
  std::array<std::atomic<std::uint64_t>, kEnds> ended_{};
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<End> strike_;  // guarded by mutex_
  std::list<Connection> connections_;
  std::thread thread_;
};

}  // namespace turnstile::campaign
