#include "client/session.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "proto/limits.h"

namespace turnstile {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kLongestWait{100};      // to notice timers and interrupts
constexpr milliseconds kHeartbeatAfter{2000};  // without another message sent
constexpr milliseconds kHelloAgainAfter{2000};
constexpr milliseconds kReportSilenceAfter{2000};
constexpr milliseconds kReconnectAfter{6000};
constexpr int kMaxMessagesPerRead = 256;  // read before something is sent again

std::string in_words(milliseconds duration) {
  const auto ms = duration.count();
  return ms % 1000 == 0 ? std::to_string(ms / 1000) + " s" : std::to_string(ms) + " ms";
}

}  // namespace

Session::Session(Link& link, SessionOptions options)
    : link_(link),
      options_(std::move(options)),
      resend_(options_.seed),
      last_sent_(options_.clock()) {}

void Session::serve(milliseconds wait) {
  if (failure_) {
    return;
  }
  if (wait > milliseconds(0)) {
    send_due();  // the wait may be for its answer
  }
  take_in(wait);
  check_link();
  check_silence(options_.clock());  // before sending, which may take time
  send_due();
}

void Session::take_in(milliseconds wait) {
  if (wait > milliseconds(0)) {
    wait = std::min(wait, kLongestWait);
    if (const auto paused = resend_.paused_until()) {
      const auto rest = std::chrono::ceil<milliseconds>(*paused - options_.clock());
      wait = std::clamp(rest, milliseconds(0), wait);
    }
  }
  auto message = link_.receive(wait);
  for (int taken = 1; message && !failure_; ++taken) {
    waiting_since_.reset();
    unanswered_since_.reset();
    if (is_silence_reported_ && state_ == State::welcomed) {
      is_silence_reported_ = false;
      notice(Notice::connected, options_.peer + " answers again");
    }
    handle(*message);
    if (taken == kMaxMessagesPerRead) {
      break;
    }
    message = link_.receive_more();
  }
}

void Session::send_due() {
  if (failure_) {
    return;
  }
  const TimePoint now = options_.clock();
  if (state_ == State::greeting && is_target_asked_) {
    send_heartbeat(now);
  } else if (state_ == State::greeting) {
    send_hello(now);
  } else {
    send_question(now);
    send_batches(now);
    send_heartbeat(now);
  }
}

bool Session::send(const Message& message, TimePoint now) {
  waiting_since_ = waiting_since_.value_or(now);
  if (!link_.send(message)) {
    return false;
  }
  last_sent_ = now;
  unanswered_since_ = unanswered_since_.value_or(now);
  return true;
}

void Session::send_hello(TimePoint now) {
  if (hello_sent_ && now - *hello_sent_ < kHelloAgainAfter) {
    return;
  }
  Hello hello;
  hello.role = Role::producer;
  hello.producer = options_.producer;
  hello.named = options_.named;
  hello.epoch = welcome_ ? welcome_->epoch : Epoch{};
  hello.known = std::max(options_.known, resend_.applied_through());
  hello.source = options_.source;
  hello.stored = resend_.stored_through();
  if (welcome_) {
    hello.sent = resend_.sent_through();
  }
  hello.sure = options_.sure && !welcome_;
  if (send(hello, now)) {
    hello_sent_ = now;
  }
}

void Session::send_batches(TimePoint now) {
  while (const Batch* batch = resend_.next_to_send(now)) {
    if (!send(*batch, now)) {
      return;
    }
    resend_.sent();
  }
}

void Session::send_question(TimePoint now) {
  if (question_ && !is_asked_) {
    is_asked_ = send(*question_, now);
  }
}

void Session::send_heartbeat(TimePoint now) {
  if (now - last_sent_ >= kHeartbeatAfter) {
    send(Heartbeat{}, now);
  }
}

std::chrono::steady_clock::duration Session::silent_for(TimePoint now) const {
  return waiting_since_ ? now - *waiting_since_ : TimePoint::duration::zero();
}

// Before the first welcome the program can fail immediately, or say what it waits for. Later, the
// trouble may last only as long as a restart of the broker.
void Session::check_link() {
  const auto& trouble = link_.trouble();
  if (!trouble || welcome_ || failure_) {
    return;
  }
  const bool is_final = options_.if_no_broker == IfNoBroker::fail ||
                        (options_.if_no_broker == IfNoBroker::wait_if_permitted &&
                         (trouble->kind == LinkTrouble::Kind::no_permission ||
                          trouble->kind == LinkTrouble::Kind::not_trusted));
  if (is_final) {
    fail_with(Errc::unreachable, trouble->what, trouble->hint);
  } else if (trouble->what != reported_trouble_) {
    reported_trouble_ = trouble->what;
    is_silence_reported_ = true;
    notice(Notice::unreachable, trouble->what + ", trying again");
  }
}

Error Session::silence() const {
  if (const auto& trouble = link_.trouble()) {
    return {Errc::unreachable, trouble->what, trouble->hint};
  }
  return {Errc::unreachable, "no answer from " + options_.peer,
          "is it running? `turnstile broker` starts one; --timeout waits longer"};
}

void Session::check_silence(TimePoint now) {
  if (!waiting_since_ || failure_) {
    return;
  }
  const auto silence_for = silent_for(now);
  if (silence_for >= kReportSilenceAfter && !is_silence_reported_) {
    is_silence_reported_ = true;
    notice(Notice::unreachable, silence().what + ", trying again");
  }
  if (options_.timeout > milliseconds(0) && silence_for >= options_.timeout) {
    Error error = silence();
    fail_with(error.code, error.what + " for " + in_words(options_.timeout), std::move(error.hint));
    return;
  }
  // A link that takes nothing is still connecting, and retries by itself.
  if (unanswered_since_ && now - *unanswered_since_ >= kReconnectAfter) {
    unanswered_since_.reset();
    link_.reconnect();
    greet_again();
  }
}

void Session::greet_again() {
  state_ = State::greeting;
  hello_sent_.reset();
  is_target_asked_ = false;
  is_asked_ = false;
  queue_state_.reset();
  resend_.disconnected();
}

void Session::begin_again() {
  welcome_.reset();
  resend_ = Resend(options_.seed);
  greet_again();
}

void Session::handle(const Message& message) {
  std::visit([this](const auto& m) { on(m); }, message);
}

void Session::on(const Welcome& welcome) {
  if (welcome.version != limits::kProtocolVersion) {
    fail_with(Errc::refused, options_.peer + " speaks version " + std::to_string(welcome.version) +
                                 " of the protocol, this program version " +
                                 std::to_string(limits::kProtocolVersion));
    return;
  }
  const bool is_first = !welcome_;
  if (is_first && options_.sure && !welcome.through_is_sure) {
    fail_with(Errc::refused,
              options_.peer + " does not ask the target which rows of '" + options_.producer.text +
                  "' it has",
              "it is of an older version; update it first");
    return;
  }
  // The second answer to a duplicate HELLO: the broker now expects other rows from this process.
  const bool is_second = state_ == State::welcomed;
  const bool is_news = is_silence_reported_ || (!is_first && state_ == State::greeting);
  is_silence_reported_ = false;
  state_ = State::welcomed;
  welcome_ = welcome;
  is_asked_ = false;
  resend_.welcomed(welcome);
  report_acknowledged();
  report_busy_over();
  if (is_news) {
    notice(Notice::connected, "connected to " + options_.peer + (is_first ? "" : " again"));
  }
  if (is_second) {
    greet_again();
  }
}

void Session::on(const Stored& stored) {
  resend_.stored(stored.through);
  report_acknowledged();
  report_busy_over();
}

void Session::on(const Applied& applied) {
  const auto dead = resend_.applied(applied);
  if (dead.count > 0 && options_.on_dead) {
    options_.on_dead(dead);
  }
  report_acknowledged();
  report_busy_over();
}

void Session::on(const TableAnswer& answer) {
  if (question_ && answer.request == question_->request) {
    answer_ = answer;
    question_.reset();
  }
}

void Session::on(const Status& status) {
  if (status.request == status_requests_) {
    queue_state_ = read_queue_state(status.report.view());
  }
}

void Session::on(const Refusal& refusal) {
  switch (refusal.code) {
    case RefusalCode::hello_first:
      // While a HELLO is in flight, these answer what was sent before it.
      if (state_ == State::welcomed) {
        greet_again();
      }
      return;
    case RefusalCode::busy:
      resend_.busy(refusal.sequence, options_.clock());
      if (resend_.is_busy() && !is_busy_reported_) {
        is_busy_reported_ = true;
        notice(Notice::busy,
               options_.peer + " takes no more rows for now (" + refusal.text + "), waiting");
      }
      return;
    case RefusalCode::not_now:
      on_not_now(refusal);
      return;
    case RefusalCode::fenced:
      fail_with(Errc::fenced, "a newer process with the name '" + options_.producer.text +
                                  "' has started; this one stops");
      return;
    case RefusalCode::version:
    case RefusalCode::malformed:
    case RefusalCode::hole:
    case RefusalCode::other_source:
    case RefusalCode::letters_full:
      fail_with(Errc::refused, options_.peer + " refused this producer: " + refusal.text);
      return;
  }
}

void Session::on_not_now(const Refusal& refusal) {
  if (state_ != State::greeting || !options_.sure) {
    return;
  }
  is_target_asked_ = true;
  if (!is_busy_reported_) {
    is_busy_reported_ = true;
    notice(Notice::busy, options_.peer + " takes no rows of '" + options_.producer.text +
                             "' yet (" + refusal.text + "), waiting");
  }
}

void Session::report_busy_over() {
  if (is_busy_reported_ && !resend_.is_busy()) {
    is_busy_reported_ = false;
    notice(Notice::busy_over, options_.peer + " takes rows again");
  }
}

// Applied implies stored, so one report of `applied` covers both.
void Session::report_acknowledged() {
  if (!options_.on_acknowledged) {
    return;
  }
  report_acknowledged(Ack::applied, reported_applied_, resend_.applied_through());
  reported_stored_ = std::max(reported_stored_, reported_applied_);
  report_acknowledged(Ack::stored, reported_stored_, resend_.stored_through());
}

void Session::report_acknowledged(Ack level, Sequence& reported, Sequence through) {
  if (through <= reported || failure_) {
    return;
  }
  const auto result = options_.on_acknowledged({level, next(reported), through});
  reported = through;
  if (!result) {
    failure_ = result.error();
  }
}

void Session::ask(CheckTable question) {
  question_ = std::move(question);
  answer_.reset();
  is_asked_ = false;
}

void Session::ask_queue_state() {
  if (state_ == State::welcomed && !failure_) {
    send(AskStatus{++status_requests_}, options_.clock());
  }
}

void Session::notice(Notice what, const std::string& text) const {
  if (options_.on_notice) {
    options_.on_notice(what, text);
  }
}

void Session::fail_with(Errc code, std::string what, std::string hint) {
  failure_ = Error{code, std::move(what), std::move(hint)};
}

}  // namespace turnstile
