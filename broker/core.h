// What the broker does with each message and as time passes, without the socket: sessions, fencing,
// answers, lease, window and journal. Messages come in through receive() and go out through
// take_outbox(); the caller gives the time.
//
// core.cpp has the sessions, what producers and tools ask, and the order of a turn;
// core_authority.cpp who may do what; core_consumer.cpp the consumer's answers, questions to it,
// the lease and deliveries; core_journal.cpp storing, loading and the journal's failures;
// core_names.cpp epochs and welcomes; status_report.cpp the report.
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

#include "base/user.h"
#include "broker/durable_store.h"
#include "broker/lease.h"
#include "broker/window.h"
#include "link/connection_id.h"
#include "proto/messages.h"

namespace turnstile::broker {

struct CoreOptions {
  WindowOptions window;
  std::chrono::milliseconds lease{5000};
  // At most this much of one producer's rows is unanswered.
  std::uint64_t credit_bytes = std::uint64_t{4} * 1024 * 1024;
  std::size_t max_sessions = 10'000;
  // Those that are connected or have waiting rows.
  std::size_t max_producers = 100'000;
  // How many names without a connection and waiting rows the journal keeps, and for how long: as
  // long as a target keeps their progress.
  std::size_t max_names = 10'000;
  std::chrono::hours keep_names{24 * 30};
  std::string broker_id;  // of this start
  std::string endpoint;   // for the status report
  // Leases are numbered after this, apart from those of earlier starts: RESULTS under an earlier
  // start's lease, which a link may deliver late, are about other batches.
  Lease leases_after;
  // The broker's user. Besides root, only this user may consume or see the whole status. Nothing:
  // every user may.
  User own_user = {};
  std::function<std::uint64_t()> wall_clock_ms;
};

struct Outgoing {
  ConnectionId connection;
  Message message;
};

class Core {
 public:
  Core(CoreOptions options, DurableStore& journal, TimePoint now);

  // Reads the journal back. Call this once, before anything else.
  Result<void> start();

  // `user`: the connection's; only used for a HELLO.
  void receive(ConnectionId connection, Message&& message, TimePoint now, User user = {});
  // A message that could not be decoded.
  void reject(ConnectionId connection, const Error& why, TimePoint now);
  // A HELLO or a question to the target, from a client that sends too many.
  void put_off(ConnectionId connection, const Message& message, TimePoint now);
  // The outbox's message could not be sent: the client is disconnected or reads nothing.
  void unreachable(ConnectionId connection);

  // All that needs no disk: leases, time-outs, deliveries, answers.
  void advance(TimePoint now);
  // One group commit, if it is due. May block for one sync.
  void store(TimePoint now);
  // At the end: stores what is only in memory and trims the journal.
  void finish(TimePoint now);

  std::vector<Outgoing> take_outbox() { return std::exchange(outbox_, {}); }
  [[nodiscard]] TimePoint deadline(TimePoint now) const;
  [[nodiscard]] const Window& window() const { return window_; }
  [[nodiscard]] std::size_t sessions() const { return sessions_.size(); }
  // When the connection was last heard. Nothing: it has no session.
  [[nodiscard]] std::optional<TimePoint> heard(ConnectionId connection) const;
  [[nodiscard]] const std::optional<ConnectionId>& consumer() const { return lease_.holder(); }
  // Messages so far that made no progress: refused, ignored or duplicate.
  [[nodiscard]] std::uint64_t wasted_messages() const { return wasted_messages_; }
  // ... and those that could not be read or that this peer may not send.
  [[nodiscard]] std::uint64_t client_errors() const { return client_errors_; }
  // As MessagePack; PROTOCOL.md lists the fields. Producers get no lists, since many of them may
  // ask while they wait. Other users than the broker's see less.
  enum class Reader { owner, producer, other };
  Bytes status_report(TimePoint now, Reader reader = Reader::owner);

 private:
  // Between two log lines about the same thing, whatever clients and disks do.
  static constexpr std::chrono::seconds kLogInterval{10};
  // At most 16 epoch syncs per 100 ms; later HELLOs share one.
  static constexpr std::chrono::milliseconds kEpochsWhile{100};
  static constexpr int kEpochSyncs = 16;

  struct Session {
    Role role = Role::tool;
    Hello hello;
    User user;
    Epoch epoch;
    bool welcomed = false;
    TimePoint heard;
    bool is_asked_about = false;  // the target has not answered yet
    // Status reports are large: at most a few per interval.
    TimePoint reports_since{};
    int reports = 0;
    TimePoint heartbeat{};  // when one was last answered
  };
  // A named producer's welcome, until its epoch is in the journal.
  struct Greeting {
    ConnectionId connection;
    ProducerId producer;
    std::optional<Progress> progress;
    Epoch epoch;
    User owner;
  };
  // A question to the consumer. Without an answer by `until` the client gets a reply without it.
  // The question stays until the consumer answers or is replaced, which bounds the questions to a
  // busy consumer.
  struct Question {
    enum class Kind { welcome, refresh, table, dead, answered } kind;
    ConnectionId connection;
    ProducerId producer;                  // welcome, refresh and dead
    std::uint64_t request_of_client = 0;  // table and dead
    TimePoint until;
  };

  void on(ConnectionId connection, Hello&& m, User user, TimePoint now);
  void on(ConnectionId connection, Heartbeat&& m, TimePoint now);
  void on(ConnectionId connection, Bye&& m, TimePoint now);
  void on(ConnectionId connection, Batch&& m, TimePoint now);
  void on(ConnectionId connection, CheckTable&& m, TimePoint now);
  void on(ConnectionId connection, AskStatus&& m, TimePoint now);
  void on(ConnectionId connection, AskDead&& m, TimePoint now);
  void on(ConnectionId connection, Results&& m, TimePoint now);
  void on(ConnectionId connection, ProgressAnswer&& m, TimePoint now);
  void on(ConnectionId connection, TableAnswer&& m, TimePoint now);
  template <typename Other>
  void on(ConnectionId connection, Other&& m, TimePoint now);

  void send(ConnectionId connection, Message&& message);
  void refuse(ConnectionId connection, RefusalCode code, Sequence sequence,
              const std::string& text);
  void refuse(ConnectionId connection, const Refusal& refusal);
  void say_hello_first(ConnectionId connection, Sequence sequence, const std::string& text,
                       TimePoint now);
  [[nodiscard]] bool is_trusted(User user) const;
  void admit_consumer(ConnectionId connection, Hello&& m, User user, TimePoint now);
  std::optional<Refusal> claim_target(const Hello& m, TimePoint now);
  [[nodiscard]] std::optional<Refusal> claims_of_others(ConnectionId connection, const Hello& m,
                                                        User user);
  [[nodiscard]] std::optional<Refusal> false_claim(const Hello& hello,
                                                   const std::optional<Progress>& progress) const;
  void drop_session(ConnectionId connection, const char* why);
  [[nodiscard]] std::optional<ConnectionId> connection_of(const ProducerId& producer) const;
  void forget_if_away(const ProducerId& producer);

  [[nodiscard]] std::uint64_t fair_credit() const;
  void welcome(ConnectionId connection, const std::optional<Progress>& progress, TimePoint now);
  struct Grant {
    Epoch epoch;
    bool is_new;  // the journal does not have it yet
  };
  std::optional<Grant> grant_epoch(ConnectionId connection, const Hello& hello,
                                   const std::optional<Progress>& progress, TimePoint now);
  void store_epochs(TimePoint now);
  [[nodiscard]] bool may_store_epochs(TimePoint now) const;
  void greet(ConnectionId connection, Epoch epoch, const std::optional<Progress>& progress,
             TimePoint now);
  void forget_names(TimePoint now);
  void supersede_greetings(ConnectionId connection, const ProducerId& producer);
  void ask_progress(ConnectionId connection, TimePoint now);
  void ask_unasked(TimePoint now);
  std::optional<Question> take_question(std::uint64_t request);
  void end_overdue_questions(TimePoint now);

  void settle(const BatchResult& result, TimePoint now);
  void gather(ConnectionId connection, const Window::Settled& settled, const BatchResult& result);
  [[nodiscard]] Sequence outcomes_known(const Session& session) const;
  void ask_for_outcomes_owed(ConnectionId connection);
  void refuse_batch(const BatchResult& result, const Window::Settled& settled, bool was_stopped,
                    TimePoint now);
  void send_stored(ConnectionId connection, const ProducerId& producer);
  void send_applied();
  void send_applied(ConnectionId connection, Session& session, Applied&& applied);
  void grant_lease(TimePoint now);
  void grant_free_lease(TimePoint now);
  void lose_consumer(const char* why);
  void retry_stopped_producers(TimePoint now);
  Result<void> read_journal_back();
  void load(TimePoint now);
  void deliver(TimePoint now);
  void journal_failed(const Error& error, TimePoint now);
  void reopen_journal();
  void report_vanished(const DurableStore::Vanished& vanished);
  void look_at_journal(TimePoint now);
  void journal_works_again();
  void expire_sessions(TimePoint now);
  [[nodiscard]] double rows_per_second(TimePoint now) const;

  CoreOptions options_;
  DurableStore& journal_;
  Window window_;
  LeaseDesk lease_;
  TimePoint started_;

  std::unordered_map<ConnectionId, Session> sessions_;
  std::unordered_map<ProducerId, ConnectionId> connections_;
  std::map<std::uint64_t, Question> questions_;
  std::uint64_t next_question_ = 1;
  std::unordered_set<ConnectionId> unasked_;         // producers whose question did not fit
  std::unordered_map<ProducerId, Applied> applied_;  // answers gathered since the last advance()
  std::vector<Greeting> greetings_;                  // whose epochs are not stored yet
  TimePoint epochs_since_{};                         // start of the current interval
  int epoch_syncs_ = 0;
  std::vector<Outgoing> outbox_;

  bool retries_stopped_ = false;            // a consumer attached since they stopped
  bool is_lease_new_ = false;               // nothing was read for its holder yet
  std::optional<TimePoint> journal_retry_;  // set while the journal cannot store
  bool must_reopen_journal_ = false;        // it failed and could not be reopened yet
  std::string journal_problem_;
  std::string journal_loss_;            // rows lost with files that vanished; stays
  std::string journal_problem_logged_;  // until the log says that it works again
  TimePoint next_journal_log_{};
  std::uint64_t refused_since_log_ = 0;
  TimePoint next_refused_log_{};
  TimePoint next_housekeeping_;
  std::optional<TimePoint> forgot_names_;
  std::optional<std::uint64_t> names_looked_ms_;  // the wall clock at that time
  struct Report {
    Bytes bytes;
    std::optional<TimePoint> made;
  };
  std::array<Report, 3> reports_;                                 // the latest, by Reader
  std::unordered_map<ConnectionId, TimePoint> hello_first_sent_;  // recently
  std::uint64_t wasted_messages_ = 0;
  std::uint64_t client_errors_ = 0;

  ConsumerStats consumer_stats_;
  std::uint64_t rows_settled_ = 0;
  std::deque<std::pair<TimePoint, std::uint64_t>> rate_samples_;  // one a second, ten at most
  std::uint64_t messages_rejected_ = 0;
};

}  // namespace turnstile::broker
