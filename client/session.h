// A producer's conversation with the broker: greeting, sending, answers, heartbeats, and noticing
// that nobody answers.
//
//   greeting ──WELCOME──► welcomed ──"hello first", or silence──► greeting ...
//       └────────────── a final refusal, or the timeout ──► failed
//
// Works on any Link; the clock comes in. Belongs to one thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "link/link.h"
#include "client/queue_state.h"
#include "client/resend.h"
#include "proto/messages.h"
#include "base/result.h"

namespace turnstile {

// What people should hear of, once when it begins and once when it ends.
enum class Notice {
  unreachable,  // nothing came from the broker for 2 s
  connected,    // ... it answers again, or for the first time after that
  busy,         // the broker is at a bound and dropped rows, which are sent again
  busy_over,
  waiting,  // for 2 s no row was acknowledged; again when the reason changes, or every 30 s
  delayed,  // ... and the reason is only that other rows come first
};

// What a producer does that finds no broker when it starts.
enum class IfNoBroker {
  wait,               // always
  wait_if_permitted,  // ... but end when the system does not let it in
  fail,
};

enum class Ack { stored, applied };

// Rows that were acknowledged at a level: those behind what this process was told before.
struct Acknowledged {
  Ack level = Ack::stored;
  Sequence first;
  Sequence last;
};

struct SessionOptions {
  ProducerId producer;
  bool named = false;
  // Begin only when the target said which rows of this name it has: they cannot be sent again.
  bool sure = false;
  Sequence known;                        // outcomes are known to an earlier process through here
  std::string source;                    // see BatchHeader::source
  std::string peer = "the broker";       // what it is called in messages
  std::chrono::milliseconds timeout{0};  // give up after so long without an answer; 0: never
  IfNoBroker if_no_broker = IfNoBroker::wait_if_permitted;
  std::function<std::chrono::steady_clock::time_point()> clock = std::chrono::steady_clock::now;
  std::function<void(Notice, const std::string& text)> on_notice;
  std::function<void(const Resend::NewDead&)> on_dead;
  // What a WELCOME says of an earlier process's rows counts too. An error ends the session.
  std::function<Result<void>(const Acknowledged&)> on_acknowledged;
  std::uint64_t seed = 0;  // of the jitter
};

class Session {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  Session(Link& link, SessionOptions options);

  // Takes in what came, waiting up to `wait` (and never long) for the first of it, and sends what
  // may be sent.
  void serve(std::chrono::milliseconds wait);

  [[nodiscard]] Resend& resend() { return resend_; }
  [[nodiscard]] const Resend& resend() const { return resend_; }

  // The latest; none before the first.
  [[nodiscard]] const std::optional<Welcome>& welcome() const { return welcome_; }

  // Why this producer cannot go on: unreachable (the timeout passed), refused, fenced, and what
  // on_acknowledged said.
  [[nodiscard]] const std::optional<Error>& failure() const { return failure_; }

  // How long nothing came although something was to be sent.
  [[nodiscard]] std::chrono::steady_clock::duration silent_for(TimePoint now) const;

  // Says hello as a process that begins now, which no row may have been added for, and forgets the
  // welcome: the next one numbers the rows.
  void begin_again();

  // One question at a time; it is asked again after a reconnect until answered.
  void ask(CheckTable question);
  [[nodiscard]] const std::optional<TableAnswer>& answer() const { return answer_; }

  // Asks why rows wait. The latest answer on this connection; none before the first.
  void ask_queue_state();
  [[nodiscard]] const std::optional<QueueState>& queue_state() const { return queue_state_; }

  // That nothing came for a while: why, as far as it is known, and what to do.
  [[nodiscard]] Error silence() const;

  void notice(Notice what, const std::string& text) const;
  // Tells the broker that nothing more will come.
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
  void on(const Other& /*other*/) {}  // a heartbeat, or no message for a producer

  void on_not_now(const Refusal& refusal);
  void tell_if_busy_is_over();
  void tell_acknowledged();
  void tell_acknowledged(Ack level, Sequence& told, Sequence through);
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
  bool is_target_asked_ = false;         // on this connection; the WELCOME comes by itself
  TimePoint last_sent_;                  // anything
  // Nothing has come since something was to be sent, and since the link took something.
  std::optional<TimePoint> waiting_since_;
  std::optional<TimePoint> unanswered_since_;
  bool is_silence_told_ = false;
  std::string told_trouble_;  // of the link, before the first welcome
  bool is_busy_told_ = false;
  Sequence told_stored_;  // to on_acknowledged
  Sequence told_applied_;
};

}  // namespace turnstile
