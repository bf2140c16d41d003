#include "client/session.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "proto/limits.h"

namespace turnstile {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kLongestWait{100};      // so that timers and interrupts are seen
constexpr milliseconds kHeartbeatAfter{2000};  // without anything else to send
constexpr milliseconds kHelloAgainAfter{2000};
constexpr milliseconds kSilenceTold{2000};
constexpr milliseconds kSilenceIsDeath{6000};
constexpr int kMessagesAtOnce = 256;  // taken in before something is sent again

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
    send_due();  // what is waited for may be its answer
  }
  take_in(wait);
  check_link();
  check_silence(options_.clock());  // before a link that takes its time to send
  send_due();
}

void Session::take_in(milliseconds wait) {
  if (wait > milliseconds(0)) {
    wait = std::min(wait, kLongestWait);
    if (const auto paused = resend_.paused_until()) {
      const auto left = std::chrono::ceil<milliseconds>(*paused - options_.clock());
      wait = std::clamp(left, milliseconds(0), wait);
    }
  }
  auto message = link_.receive(wait);
  for (int taken = 1; message && !failure_; ++taken) {
    waiting_since_.reset();
    unanswered_since_.reset();
    if (is_silence_told_ && state_ == State::welcomed) {
      is_silence_told_ = false;
      notice(Notice::connected, options_.peer + " answers again");
    }
    handle(*message);
    if (taken == kMessagesAtOnce) {
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

// A process that starts can end immediately, or say what it waits for. Later the link may be in
// trouble for the moment that a broker needs to restart.
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
  } else if (trouble->what != told_trouble_) {
    told_trouble_ = trouble->what;
    is_silence_told_ = true;
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
  if (silence_for >= kSilenceTold && !is_silence_told_) {
    is_silence_told_ = true;
    notice(Notice::unreachable, silence().what + ", trying again");
  }
  if (options_.timeout > milliseconds(0) && silence_for >= options_.timeout) {
    Error error = silence();
    fail_with(error.code, error.what + " for " + in_words(options_.timeout), std::move(error.hint));
    return;
  }
  // A link that takes nothing is still connecting, and does so by itself.
  if (unanswered_since_ && now - *unanswered_since_ >= kSilenceIsDeath) {
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
  // It answers a HELLO that was said twice: by it the broker has this process begin elsewhere.
  const bool is_second = state_ == State::welcomed;
  const bool is_news = is_silence_told_ || (!is_first && state_ == State::greeting);
  is_silence_told_ = false;
  state_ = State::welcomed;
  welcome_ = welcome;
  is_asked_ = false;
  resend_.welcomed(welcome);
  tell_acknowledged();
  tell_if_busy_is_over();
  if (is_news) {
    notice(Notice::connected, "connected to " + options_.peer + (is_first ? "" : " again"));
  }
  if (is_second) {
    greet_again();
  }
}

void Session::on(const Stored& stored) {
  resend_.stored(stored.through);
  tell_acknowledged();
  tell_if_busy_is_over();
}

void Session::on(const Applied& applied) {
  const auto dead = resend_.applied(applied);
  if (dead.count > 0 && options_.on_dead) {
    options_.on_dead(dead);
  }
  tell_acknowledged();
  tell_if_busy_is_over();
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
      // While a HELLO is on its way these are answers to what was sent before it.
      if (state_ == State::welcomed) {
        greet_again();
      }
      return;
    case RefusalCode::busy:
      resend_.busy(refusal.sequence, options_.clock());
      if (resend_.is_busy() && !is_busy_told_) {
        is_busy_told_ = true;
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
  if (!is_busy_told_) {
    is_busy_told_ = true;
    notice(Notice::busy, options_.peer + " takes no rows of '" + options_.producer.text +
                             "' yet (" + refusal.text + "), waiting");
  }
}

void Session::tell_if_busy_is_over() {
  if (is_busy_told_ && !resend_.is_busy()) {
    is_busy_told_ = false;
    notice(Notice::busy_over, options_.peer + " takes rows again");
  }
}

// Applied implies stored, and is told as applied alone.
void Session::tell_acknowledged() {
  if (!options_.on_acknowledged) {
    return;
  }
  tell_acknowledged(Ack::applied, told_applied_, resend_.applied_through());
  told_stored_ = std::max(told_stored_, told_applied_);
  tell_acknowledged(Ack::stored, told_stored_, resend_.stored_through());
}

void Session::tell_acknowledged(Ack level, Sequence& told, Sequence through) {
  if (through <= told || failure_) {
    return;
  }
  const auto heard = options_.on_acknowledged({level, next(told), through});
  told = through;
  if (!heard) {
    failure_ = heard.error();
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
