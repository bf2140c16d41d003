// A producer's conversation with the broker: hello, batches, answers, heartbeats, and the detection
// of a silent broker.
//
//   greeting ──WELCOME──► welcomed ──"hello first", or silence──► greeting ...
//       └────────────── a final refusal, or the timeout ──► failed
//
// Works on any Link; the caller passes the clock. Belongs to one thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "base/result.h"
#include "client/queue_state.h"
#include "client/resend.h"
#include "link/link.h"
#include "proto/messages.h"

namespace turnstile {

// Reported to the user once when it begins and once when it ends.
enum class Notice {
  unreachable,  // nothing came from the broker for 2 s
  connected,    // the broker answers again, or for the first time after `unreachable`
  busy,         // the broker is at a limit and dropped rows, which are sent again
  busy_over,
  waiting,  // for 2 s no row was acknowledged; again when the reason changes, or every 30 s
  delayed,  // as `waiting`, but the only reason is that other rows come first
};

// What a producer does when it finds no broker at its start.
enum class IfNoBroker {
  wait,               // always
  wait_if_permitted,  // but fail if the system denies access
  fail,
};

enum class Ack { stored, applied };

// Rows newly acknowledged at a level: those after the rows reported before.
struct Acknowledged {
  Ack level = Ack::stored;
  Sequence first;
  Sequence last;
};

struct SessionOptions {
  ProducerId producer;
  bool named = false;
  // Begin only when the target has said which rows of this name it has: they cannot be resent.
  bool sure = false;
  Sequence known;                        // an earlier process knows the outcomes through here
  std::string source;                    // see BatchHeader::source
  std::string peer = "the broker";       // its name in messages
  std::chrono::milliseconds timeout{0};  // give up after this long without an answer; 0: never
  IfNoBroker if_no_broker = IfNoBroker::wait_if_permitted;
  std::function<std::chrono::steady_clock::time_point()> clock = std::chrono::steady_clock::now;
  std::function<void(Notice, const std::string& text)> on_notice;
  std::function<void(const Resend::NewDead&)> on_dead;
  // A WELCOME acknowledges rows of earlier processes too. An error ends the session.
  std::function<Result<void>(const Acknowledged&)> on_acknowledged;
  std::uint64_t seed = 0;  // of the jitter
};

class Session {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  Session(Link& link, SessionOptions options);

  // Reads what has arrived, waits up to `wait` (at most 100 ms) for the first message, and sends
  // what may be sent.
  void serve(std::chrono::milliseconds wait);

  [[nodiscard]] Resend& resend() { return resend_; }
  [[nodiscard]] const Resend& resend() const { return resend_; }

  // The latest; none before the first.
  [[nodiscard]] const std::optional<Welcome>& welcome() const { return welcome_; }

  // Why this producer cannot continue: unreachable (the timeout passed), refused, fenced, or the
  // error of on_acknowledged.
  [[nodiscard]] const std::optional<Error>& failure() const { return failure_; }

  // How long nothing has arrived while something waits to be sent or answered.
  [[nodiscard]] std::chrono::steady_clock::duration silent_for(TimePoint now) const;

  // Says hello as a new process would, and forgets the welcome: the next one numbers the rows. No
  // row may have been added.
  void begin_again();

  // One question at a time. It is asked again after a reconnect until it is answered.
  void ask(CheckTable question);
  [[nodiscard]] const std::optional<TableAnswer>& answer() const { return answer_; }

  // Asks why rows wait. The latest answer on this connection; none before the first.
  void ask_queue_state();
  [[nodiscard]] const std::optional<QueueState>& queue_state() const { return queue_state_; }

  // Why nothing has arrived for a while, if known, and what to do.
  [[nodiscard]] Error silence() const;

  void notice(Notice what, const std::string& text) const;
  // Tells the broker that this producer is done.
  void bye() { link_.send(Bye{}); }

 private:
  enum class State { greeting, welcomed };

  void take_in(std::chrono::milliseconds wait);
  void send_due();
  void send_hello(TimePoint now);
  void send_batches(TimePoint now);
  void send_question(TimePoint now);
  void send_heartbeat(TimePoint now);
  bool send(const Message& message, TimePoint now);
  void check_link();
  void check_silence(TimePoint now);
  void greet_again();

  void handle(const Message& message);
  void on(const Welcome& welcome);
  void on(const Stored& stored);
  void on(const Applied& applied);
  void on(const Refusal& refusal);
  void on(const TableAnswer& answer);
  void on(const Status& status);
  template <typename Other>
  void on(const Other& /*other*/) {}  // a heartbeat, or a message that is not for producers

  void on_not_now(const Refusal& refusal);
  void report_busy_over();
  void report_acknowledged();
  void report_acknowledged(Ack level, Sequence& reported, Sequence through);
  void fail_with(Errc code, std::string what, std::string hint = {});

  Link& link_;
  SessionOptions options_;
  Resend resend_;

  State state_ = State::greeting;
  std::optional<Welcome> welcome_;
  std::optional<Error> failure_;

  std::optional<CheckTable> question_;  // not answered yet
  bool is_asked_ = false;               // on this connection
  std::optional<TableAnswer> answer_;
  std::uint64_t status_requests_ = 0;
  std::optional<QueueState> queue_state_;

  std::optional<TimePoint> hello_sent_;  // on this connection
  bool is_target_asked_ = false;         // on this connection; the broker sends the WELCOME later
  TimePoint last_sent_;                  // any message
  // Since when something was to be sent, and since when something was sent, with no message after.
  std::optional<TimePoint> waiting_since_;
  std::optional<TimePoint> unanswered_since_;
  bool is_silence_reported_ = false;
  std::string reported_trouble_;  // of the link, before the first welcome
  bool is_busy_reported_ = false;
  Sequence reported_stored_;  // to on_acknowledged
  Sequence reported_applied_;
};

}  // namespace turnstile
