// What the broker does on each message and as time passes, without the socket: sessions, fencing,
// answers, lease, window and journal put together. Messages come in through receive(), go out
// through take_outbox(); the caller gives the time.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "broker/durable_store.h"
#include "broker/lease.h"
#include "base/user.h"
#include "broker/window.h"
#include "proto/messages.h"

namespace turnstile::broker {

// A connection, as ROUTER names it.
using Route = std::string;

struct CoreOptions {
  WindowOptions window;
  std::chrono::milliseconds lease{5000};
  // Unanswered rows bytes of one producer, at most.
  std::uint64_t credit_bytes = std::uint64_t{4} * 1024 * 1024;
  std::size_t max_sessions = 10'000;
  // With rows that wait, or connected.
  std::size_t max_producers = 100'000;
  // Whose epochs the journal keeps though they are gone and nothing of theirs waits: so many, and
  // for so long, as a target keeps their progress.
  std::size_t max_names = 10'000;
  std::chrono::hours keep_names{24 * 30};
  std::string broker_id;  // of this start
  std::string endpoint;   // for the status report
  // Leases are numbered from behind this, of this start alone: RESULTS under a lease that an
  // earlier start gave, which a link may deliver late, are about other batches.
  Lease leases_behind;
  // This broker's: besides root the only one that may consume, or see the whole status. Nothing:
  // every user may.
  User own_user = {};
  std::function<std::uint64_t()> wall_clock_ms;
};

struct Outgoing {
  Route route;
  Message message;
};

class Core {
 public:
  Core(CoreOptions options, DurableStore& journal, TimePoint now);

  // Reads back what the journal holds. Call once, before anything else.
  Result<void> start();

  // `user`: of the connection; only a HELLO's counts.
  void receive(const Route& route, Message&& message, TimePoint now, User user = {});
  // A message that could not be decoded.
  void reject(const Route& route, const Error& why, TimePoint now);
  // A HELLO or a question that the target would be asked about, from one that does so too often.
  void put_off(const Route& route, const Message& message, TimePoint now);
  // The outbox's message could not be sent: nobody is there, or it reads nothing.
  void unreachable(const Route& route);

  // Everything that needs no disk: leases, time-outs, deliveries, answers.
  void advance(TimePoint now);
  // One group commit, if one is due. May block for the time of a sync.
  void store(TimePoint now);
  // Before the end: stores what is only in memory and trims the journal.
  void finish(TimePoint now);

  std::vector<Outgoing> take_outbox() { return std::exchange(outbox_, {}); }
  [[nodiscard]] TimePoint deadline(TimePoint now) const;
  [[nodiscard]] const Window& window() const { return window_; }
  [[nodiscard]] std::size_t sessions() const { return sessions_.size(); }
  // When a session's connection last said anything; nothing: there is no such session.
  [[nodiscard]] std::optional<TimePoint> heard(const Route& route) const;
  [[nodiscard]] const std::optional<Route>& consumer() const { return lease_.holder(); }
  // Messages so far that brought nobody's row further: refused, passed over, or known already.
  [[nodiscard]] std::uint64_t fruitless() const { return fruitless_; }
  // ... that could not be read, or were not their sender's to send.
  [[nodiscard]] std::uint64_t client_errors() const { return client_errors_; }
  // As MessagePack; PROTOCOL.md lists the fields. Producers get no lists, since many of them may
  // wait and ask; other users than the broker's see less.
  enum class Reader { owner, producer, other };
  Bytes status_report(TimePoint now, Reader reader = Reader::owner);

 private:
  // Between two lines in the log about the same matter, whatever clients and disks do.
  static constexpr std::chrono::seconds kLogInterval{10};
  // New epochs are synced so often in a while, whoever comes; those that come meanwhile share one.
  static constexpr std::chrono::milliseconds kEpochsWhile{100};
  static constexpr int kEpochSyncs = 16;

  struct Session {
    Role role = Role::tool;
    Hello hello;
    User user;
    Epoch epoch;
    bool welcomed = false;
    TimePoint heard;
    bool is_asked_about = false;  // the target, which did not answer yet
    // Status reports are large: so many in a while.
    TimePoint reports_since{};
    int reports = 0;
    TimePoint heartbeat{};  // the last that was answered
  };
  // A named producer's welcome, until its epoch is in the journal.
  struct Greeting {
    Route route;
    ProducerId producer;
    std::optional<Progress> progress;
    Epoch epoch;
    User owner;
  };
  // A question that the consumer was asked. Without an answer by `until` its asker is answered
  // without it; the question stays until the consumer answers or is replaced, so that one that is
  // busy for long is not asked without bound.
  struct Question {
    enum class Kind { welcome, refresh, table, dead, told } kind;
    Route route;
    ProducerId producer;                  // welcome, refresh and dead
    std::uint64_t request_of_client = 0;  // table and dead
    TimePoint until;
  };

  void on(const Route& route, Hello&& m, User user, TimePoint now);
  void on(const Route& route, Heartbeat&& m, TimePoint now);
  void on(const Route& route, Bye&& m, TimePoint now);
  void on(const Route& route, Batch&& m, TimePoint now);
  void on(const Route& route, CheckTable&& m, TimePoint now);
  void on(const Route& route, AskStatus&& m, TimePoint now);
  void on(const Route& route, AskDead&& m, TimePoint now);
  void on(const Route& route, Results&& m, TimePoint now);
  void on(const Route& route, ProgressAnswer&& m, TimePoint now);
  void on(const Route& route, TableAnswer&& m, TimePoint now);
  template <typename Other>
  void on(const Route& route, Other&& m, TimePoint now);

  void send(const Route& route, Message&& message);
  void refuse(const Route& route, RefusalCode code, Sequence sequence, const std::string& text);
  void refuse(const Route& route, const Refusal& refusal);
  void say_hello_first(const Route& route, Sequence sequence, const std::string& text,
                       TimePoint now);
  [[nodiscard]] bool is_trusted(User user) const;
  void admit_consumer(const Route& route, Hello&& m, User user, TimePoint now);
  std::optional<Refusal> claim_target(const Hello& m, TimePoint now);
  [[nodiscard]] std::optional<Refusal> claims_of_others(const Route& route, const Hello& m,
                                                        User user);
  [[nodiscard]] std::optional<Refusal> false_claim(const Hello& hello,
                                                   const std::optional<Progress>& progress) const;
  void drop_session(const Route& route, const char* why);
  [[nodiscard]] Route* route_of(const ProducerId& producer);
  void forget_if_away(const ProducerId& producer);

  [[nodiscard]] std::uint64_t fair_credit() const;
  void welcome(const Route& route, const std::optional<Progress>& progress, TimePoint now);
  struct Grant {
    Epoch epoch;
    bool is_new;  // the journal does not have it yet
  };
  std::optional<Grant> grant_epoch(const Route& route, const Hello& hello,
                                   const std::optional<Progress>& progress, TimePoint now);
  void store_epochs(TimePoint now);
  [[nodiscard]] bool may_store_epochs(TimePoint now) const;
  void greet(const Route& route, Epoch epoch, const std::optional<Progress>& progress,
             TimePoint now);
  void forget_names(TimePoint now);
  void supersede_greetings(const Route& route, const ProducerId& producer);
  void ask_progress(const Route& route, TimePoint now);
  void ask_those_who_wait(TimePoint now);
  std::optional<Question> take_question(std::uint64_t request);
  void answer_late_questions(TimePoint now);

  void settle(const BatchResult& result, TimePoint now);
  void gather(const Route& route, const Window::Settled& settled, const BatchResult& result);
  [[nodiscard]] Sequence outcomes_known(const Session& session) const;
  void ask_for_outcomes_owed(const Route& route);
  void refuse_batch(const BatchResult& result, const Window::Settled& settled, bool was_stopped,
                    TimePoint now);
  void tell_stored(const Route& route, const ProducerId& producer);
  void tell_applied();
  void tell_applied(const Route& route, Session& session, Applied&& applied);
  void hand_over_lease(TimePoint now);
  void hand_over_free_lease(TimePoint now);
  void lose_consumer(const char* why);
  void retry_stopped_producers(TimePoint now);
  Result<void> read_journal_back();
  void load(TimePoint now);
  void deliver(TimePoint now);
  void journal_failed(const Error& error, TimePoint now);
  void reopen_journal();
  void tell_vanished(const DurableStore::Vanished& vanished);
  void look_at_journal(TimePoint now);
  void journal_works_again();
  void expire_sessions(TimePoint now);
  [[nodiscard]] double rows_per_second(TimePoint now) const;

  CoreOptions options_;
  DurableStore& journal_;
  Window window_;
  LeaseDesk lease_;
  TimePoint started_;

  std::unordered_map<Route, Session> sessions_;
  std::unordered_map<ProducerId, Route> routes_;
  std::map<std::uint64_t, Question> questions_;
  std::uint64_t next_question_ = 1;
  std::unordered_set<Route> unasked_;  // producers for whom there was no room among the questions
  std::unordered_map<ProducerId, Applied> applied_;  // answers gathered since the last advance()
  std::vector<Greeting> greetings_;                  // with epochs that are not stored yet
  TimePoint epochs_since_{};                         // of their syncs so many in a while
  int epoch_syncs_ = 0;
  std::vector<Outgoing> outbox_;

  bool retries_stopped_ = false;            // a consumer came since they were stopped
  bool is_lease_new_ = false;               // nothing was read for its holder yet
  std::optional<TimePoint> journal_retry_;  // set while the journal cannot store
  bool must_reopen_journal_ = false;        // it failed, and could not be opened anew since
  std::string journal_problem_;
  std::string journal_loss_;            // what its files took along that vanished; stays
  std::string journal_problem_logged_;  // until the log also said that it is over
  TimePoint next_journal_log_{};
  std::uint64_t refused_since_log_ = 0;
  TimePoint next_refused_log_{};
  TimePoint next_housekeeping_;
  std::optional<TimePoint> forgot_names_;
  std::optional<std::uint64_t> names_looked_ms_;  // the wall clock then
  struct Report {
    Bytes bytes;
    std::optional<TimePoint> made;
  };
  std::array<Report, 3> reports_;                          // the latest, by Reader
  std::unordered_map<Route, TimePoint> told_hello_first_;  // lately
  std::uint64_t fruitless_ = 0;
  std::uint64_t client_errors_ = 0;

  ConsumerStats consumer_stats_;
  std::uint64_t rows_settled_ = 0;
  std::deque<std::pair<TimePoint, std::uint64_t>> rate_samples_;  // one a second, ten at most
  std::uint64_t messages_rejected_ = 0;
};

}  // namespace turnstile::broker
