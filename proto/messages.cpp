#include "proto/messages.h"

#include <cstddef>
#include <limits>
#include <type_traits>
#include <utility>

#include <msgpack.hpp>

#include "base/counted.h"
#include "base/string_stream.h"
#include "proto/header_reader.h"

namespace turnstile {
namespace {

// The first element of every header: which message it is. Clients below 64, brokers from 64 on.
enum class Type : std::uint8_t {
  hello = 1,
  heartbeat = 2,
  bye = 3,
  batch = 4,
  check_table = 5,
  ask_status = 6,
  results = 7,
  progress_answer = 8,
  table_answer = 9,
  ask_dead = 10,
  welcome = 64,
  stored = 65,
  applied = 66,
  refusal = 67,
  lease_state = 68,
  delivery = 69,
  ask_progress = 70,
  status = 71,
  dead = 72,
};

// Writes one header: an array whose first element is the type.
class Writer {
 public:
  Writer(Type type, std::uint32_t fields) : stream_{&text_}, packer_(stream_) {
    packer_.pack_array(fields + 1);
    packer_.pack_uint8(static_cast<std::uint8_t>(type));
  }

  Writer& number(std::uint64_t value) {
    packer_.pack_uint64(value);
    return *this;
  }
  Writer& boolean(bool value) {
    value ? packer_.pack_true() : packer_.pack_false();
    return *this;
  }
  Writer& text(std::string_view value) {
    packer_.pack_str(static_cast<std::uint32_t>(value.size()));
    packer_.pack_str_body(value.data(), static_cast<std::uint32_t>(value.size()));
    return *this;
  }
  Writer& array(std::size_t size) {
    packer_.pack_array(static_cast<std::uint32_t>(size));
    return *this;
  }
  Writer& texts(const std::vector<std::string>& values) {
    array(values.size());
    for (const auto& value : values) {
      text(value);
    }
    return *this;
  }
  Writer& dead(std::uint32_t count, const std::vector<DeadRow>& dead_rows) {
    return number(count).rows(dead_rows);
  }
  Writer& rows(const std::vector<DeadRow>& rows) {
    array(rows.size());
    for (const auto& row : rows) {
      array(2).number(row.sequence.value).text(row.reason);
    }
    return *this;
  }
  Bytes take() { return Bytes(std::move(text_)); }

 private:
  std::string text_;
  StringStream stream_;
  msgpack::packer<StringStream> packer_;
};

Bytes encode_header(const Hello& m) {
  // A field that may be missing needs those before it.
  const bool has_new_target = m.new_target;
  const bool has_sure = m.sure || has_new_target;
  const bool has_sent = (m.stored && m.sent) || has_sure;
  const bool has_stored = m.stored || has_sent;
  Writer out(Type::hello, 7U + (has_stored ? 1U : 0U) + (has_sent ? 1U : 0U) +
                              (has_sure ? 1U : 0U) + (has_new_target ? 1U : 0U));
  out.number(m.version)
      .number(static_cast<std::uint64_t>(m.role))
      .text(m.producer.text)
      .boolean(m.named)
      .number(m.epoch.value)
      .number(m.known.value)
      .text(m.source);
  const Sequence stored = m.stored.value_or(Sequence{});
  if (has_stored) {
    out.number(stored.value);
  }
  if (has_sent) {
    out.number(m.sent.value_or(stored).value);
  }
  if (has_sure) {
    out.boolean(m.sure);
  }
  if (has_new_target) {
    out.boolean(m.new_target);
  }
  return out.take();
}
Bytes encode_header(const Heartbeat& /*m*/) {
  return Writer(Type::heartbeat, 0).take();
}
Bytes encode_header(const Bye& /*m*/) {
  return Writer(Type::bye, 0).take();
}
Bytes encode_header(const CheckTable& m) {
  return Writer(Type::check_table, 3).number(m.request).text(m.table).texts(m.columns).take();
}
Bytes encode_header(const AskStatus& m) {
  return Writer(Type::ask_status, 1).number(m.request).take();
}
Bytes encode_header(const AskDead& m) {
  return Writer(Type::ask_dead, 2).number(m.request).number(m.since.value).take();
}
Bytes encode_header(const Results& m) {
  const bool has_tables = !m.stats.tables.empty();
  const bool has_problem = has_tables || !m.stats.problem.empty();
  Writer out(Type::results, 5 + (has_problem ? 1 : 0) + (has_tables ? 1 : 0));
  out.number(m.lease.value)
      .number(m.stats.rows_applied)
      .number(m.stats.dead_letters)
      .text(m.stats.target)
      .array(m.results.size());
  for (const auto& r : m.results) {
    out.array(5)
        .number(r.ticket.value)
        .number(static_cast<std::uint64_t>(r.outcome))
        .number(r.through.value)
        .dead(r.dead_count, r.dead);
  }
  if (has_problem) {
    out.text(m.stats.problem);
  }
  if (has_tables) {
    out.array(m.stats.tables.size());
    for (const auto& t : m.stats.tables) {
      out.array(2).text(t.table).text(t.reason);
    }
  }
  return out.take();
}
Bytes encode_header(const ProgressAnswer& m) {
  const auto& p = m.progress;
  return Writer(Type::progress_answer, 7)
      .number(m.request)
      .boolean(p.known)
      .number(p.epoch.value)
      .number(p.through.value)
      .text(p.source)
      .dead(p.dead_count, p.dead)
      .take();
}
Bytes encode_header(const TableAnswer& m) {
  Writer out(Type::table_answer, m.types.empty() ? 3 : 4);
  out.number(m.request).number(static_cast<std::uint64_t>(m.state)).text(m.detail);
  if (!m.types.empty()) {
    out.texts(m.types);
  }
  return out.take();
}
Bytes encode_header(const Welcome& m) {
  Writer out(Type::welcome, m.last ? 9 : 8);
  out.number(m.version)
      .text(m.broker)
      .number(m.epoch.value)
      .number(m.through.value)
      .boolean(m.through_is_sure)
      .text(m.source)
      .number(m.credit_bytes)
      .boolean(m.consumer_attached);
  if (m.last) {
    out.number(m.last->value);
  }
  return out.take();
}
Bytes encode_header(const Stored& m) {
  return Writer(Type::stored, 1).number(m.through.value).take();
}
Bytes encode_header(const Applied& m) {
  return Writer(Type::applied, 3).number(m.through.value).dead(m.dead_count, m.dead).take();
}
Bytes encode_header(const Refusal& m) {
  return Writer(Type::refusal, 3)
      .number(static_cast<std::uint64_t>(m.code))
      .number(m.sequence.value)
      .text(m.text)
      .take();
}
Bytes encode_header(const LeaseState& m) {
  return Writer(Type::lease_state, 3)
      .boolean(m.granted)
      .number(m.lease.value)
      .number(static_cast<std::uint64_t>(m.duration.count()))
      .take();
}
Bytes encode_header(const Delivery& m) {
  return Writer(Type::delivery, 1).number(m.ticket.value).take();
}
Bytes encode_header(const AskProgress& m) {
  return Writer(Type::ask_progress, 4)
      .number(m.request)
      .text(m.producer.text)
      .number(m.since.value)
      .boolean(m.list_only)
      .take();
}
Bytes encode_header(const Dead& m) {
  return Writer(Type::dead, 2).number(m.request).rows(m.dead).take();
}
Bytes encode_header(const Status& m) {
  return Writer(Type::status, 1).number(m.request).take();
}

BatchHeader read_batch_header(HeaderReader& in) {
  BatchHeader h;
  h.producer = in.producer();
  h.epoch = in.epoch();
  h.first = in.sequence("first sequence");
  h.rows = in.count("rows", limits::kBatchRows);
  h.kind = in.choice("kind", BatchKind::insert, BatchKind::discard);
  h.table = in.text("table", limits::kNameBytes);
  h.columns = in.texts("columns", limits::kColumns, limits::kNameBytes);
  h.task_duration = std::chrono::milliseconds(
      in.number("task duration", static_cast<std::uint64_t>(limits::kTaskDuration.count())));
  h.source = in.text("source", limits::kSourceBytes);
  h.own_letters = in.has_more() && in.boolean("own letters");
  if (!in.ok()) {
    return h;
  }
  if (h.first.value == 0) {
    in.note("first sequence is 0; sequences count from 1");
  } else if (h.rows == 0) {
    in.note("a batch has no rows");
  } else if (h.first.value > limits::kSequence - h.rows) {
    // The sequence after the last row must be a valid sequence as well.
    in.note("a batch ends beyond the last sequence");
  } else if (h.table.empty()) {
    in.note("table is empty");
  } else if (h.columns.empty()) {
    in.note("columns is empty");
  } else if (h.kind == BatchKind::define && h.rows != 1) {
    in.note("a definition has exactly one row");
  }
  return h;
}

// What no broker can have given to this producer; empty: nothing.
std::string claims_problem(const Hello& m) {
  if (!m.named && !is_random_id(m.producer.text)) {
    // Two programs that choose the same one would take each other's rows for their own.
    return "producer '" + m.producer.text +
           "' is not 32 hexadecimal digits; choose 128 random bits, or say that it is a name";
  }
  const std::uint64_t stored = m.stored.value_or(Sequence{}).value;
  if (!m.named && m.epoch.value > 1) {
    return "epoch " + std::to_string(m.epoch.value) + ", and a producer without a name has epoch 1";
  }
  if (!m.named && m.epoch.value == 0 && (m.known.value > 0 || stored > 0)) {
    return "a new producer without a name that knows of rows";
  }
  if (m.epoch.value > 0 && m.sent && (*m.sent < m.known || m.sent->value < stored)) {
    return "rows beyond the last that was sent are stored or known";
  }
  return {};
}

Hello read_hello(HeaderReader& in) {
  Hello m;
  m.version = in.count("version");
  if (m.version != limits::kProtocolVersion) {
    return m;  // what follows is that version's own; the broker answers that it speaks another
  }
  m.role = in.choice("role", Role::producer, Role::tool);
  // A consumer or a tool gives a text for people here; only a producer's id is an identity.
  m.producer =
      m.role == Role::producer ? in.producer() : ProducerId{in.text("name", limits::kReasonBytes)};
  m.named = in.boolean("named");
  m.epoch = in.epoch();
  m.known = in.sequence("known");
  m.source = in.text("source", limits::kSourceBytes);
  if (in.has_more()) {
    m.stored = in.sequence("stored");
  }
  if (in.has_more()) {
    m.sent = in.sequence("sent");
  }
  m.sure = in.has_more() && in.boolean("sure");
  m.new_target = in.has_more() && in.boolean("new target");
  if (in.ok() && m.role == Role::producer) {
    if (const std::string problem = claims_problem(m); !problem.empty()) {
      in.note(problem);
    }
  }
  return m;
}

CheckTable read_check_table(HeaderReader& in) {
  CheckTable m;
  m.request = in.number("request");
  m.table = in.text("table", limits::kNameBytes);
  m.columns = in.texts("columns", limits::kColumns, limits::kNameBytes);
  if (in.ok() && m.table.empty()) {
    in.note("table is empty");
  }
  return m;
}

AskDead read_ask_dead(HeaderReader& in) {
  AskDead m;
  m.request = in.number("request");
  m.since = in.sequence("since");
  return m;
}

Results read_results(HeaderReader& in) {
  Results m;
  m.lease = {in.number("lease")};
  m.stats.rows_applied = in.number("rows applied");
  m.stats.dead_letters = in.number("dead letters");
  m.stats.target = in.text("target", limits::kReasonBytes);
  in.each("results", limits::kResultsListed, [&] {
    in.record("result", [&] {
      BatchResult r;
      r.ticket = {in.number("ticket")};
      r.outcome = in.choice("outcome", Outcome::applied, Outcome::letters_full);
      r.through = in.sequence("through");
      r.dead_count = in.count("dead count");
      r.dead = in.dead();
      m.results.push_back(std::move(r));
    });
  });
  if (in.has_more()) {
    m.stats.problem = in.text("problem", limits::kReasonBytes);
  }
  if (in.has_more()) {
    in.each("tables", limits::kTablesListed, [&] {
      in.record("table", [&] {
        TableTrouble t;
        t.table = in.text("table", limits::kNameBytes);
        t.reason = in.text("reason", limits::kReasonBytes);
        m.stats.tables.push_back(std::move(t));
      });
    });
  }
  return m;
}

ProgressAnswer read_progress_answer(HeaderReader& in) {
  ProgressAnswer m;
  m.request = in.number("request");
  m.progress.known = in.boolean("known");
  m.progress.epoch = in.epoch();
  m.progress.through = in.sequence("through");
  m.progress.source = in.text("source", limits::kSourceBytes);
  m.progress.dead_count = in.count("dead count");
  m.progress.dead = in.dead();
  return m;
}

TableAnswer read_table_answer(HeaderReader& in) {
  TableAnswer m;
  m.request = in.number("request");
  m.state = in.choice("state", TableState::ready, TableState::unusable);
  m.detail = in.text("detail", limits::kReasonBytes);
  if (in.has_more()) {
    m.types = in.texts("types", limits::kColumns, limits::kNameBytes);
  }
  return m;
}

Welcome read_welcome(HeaderReader& in) {
  Welcome m;
  m.version = in.count("version");
  m.broker = in.text("broker", limits::kProducerBytes);
  m.epoch = in.epoch();
  m.through = in.sequence("through");
  m.through_is_sure = in.boolean("through is sure");
  m.source = in.text("source", limits::kSourceBytes);
  m.credit_bytes = in.number("credit");
  m.consumer_attached = in.boolean("consumer attached");
  if (in.has_more()) {
    m.last = in.sequence("last");
  }
  return m;
}

Applied read_applied(HeaderReader& in) {
  Applied m;
  m.through = in.sequence("through");
  m.dead_count = in.count("dead count");
  m.dead = in.dead();
  return m;
}

Refusal read_refusal(HeaderReader& in) {
  Refusal m;
  m.code = in.choice("code", RefusalCode::hello_first, RefusalCode::letters_full);
  m.sequence = in.sequence("sequence");
  m.text = in.text("text", limits::kReasonBytes);
  return m;
}

LeaseState read_lease_state(HeaderReader& in) {
  LeaseState m;
  m.granted = in.boolean("granted");
  m.lease = {in.number("lease")};
  m.duration = std::chrono::milliseconds(in.count("duration"));
  return m;
}

AskProgress read_ask_progress(HeaderReader& in) {
  AskProgress m;
  m.request = in.number("request");
  m.producer = in.producer();
  m.since = in.sequence("since");
  m.list_only = in.has_more() && in.boolean("list only");
  return m;
}

Dead read_dead(HeaderReader& in) {
  Dead m;
  m.request = in.number("request");
  m.dead = in.dead();
  return m;
}

Delivery read_delivery(HeaderReader& in, const Frames& frames) {
  Delivery m{Ticket{in.number("ticket")}, frames[1], frames[2]};
  return m;
}

std::size_t frames_of(Type type) {
  switch (type) {
    case Type::batch:
    case Type::status:
      return 2;
    case Type::delivery:
      return 3;
    default:
      return 1;
  }
}

// Reads what follows the type, of a message that has the frames of its type.
Message read_body(Type type, HeaderReader& in, const Frames& frames) {
  switch (type) {
    case Type::hello:
      return read_hello(in);
    case Type::heartbeat:
      return Heartbeat{};
    case Type::bye:
      return Bye{};
    case Type::batch:
      return Batch{read_batch_header(in), frames[0], frames[1]};
    case Type::check_table:
      return read_check_table(in);
    case Type::ask_status:
      return AskStatus{in.number("request")};
    case Type::ask_dead:
      return read_ask_dead(in);
    case Type::results:
      return read_results(in);
    case Type::progress_answer:
      return read_progress_answer(in);
    case Type::table_answer:
      return read_table_answer(in);
    case Type::welcome:
      return read_welcome(in);
    case Type::stored:
      return Stored{in.sequence("through")};
    case Type::applied:
      return read_applied(in);
    case Type::refusal:
      return read_refusal(in);
    case Type::lease_state:
      return read_lease_state(in);
    case Type::delivery:
      return read_delivery(in, frames);
    case Type::ask_progress:
      return read_ask_progress(in);
    case Type::status:
      return Status{in.number("request"), frames[1]};
    case Type::dead:
      return read_dead(in);
  }
  in.note("unknown message type " + std::to_string(static_cast<int>(type)));
  return Heartbeat{};
}

// What is wrong with the number and the sizes of the frames after the header; empty: nothing.
std::string frames_problem(Type type, const Frames& frames) {
  if (frames.size() != frames_of(type)) {
    return "message of type " + std::to_string(static_cast<int>(type)) + " has " +
           counted(frames.size(), "frame");
  }
  for (std::size_t i = 1; i < frames.size(); ++i) {
    if (frames[i].size() > limits::kRowsBytes) {
      return "frame of " + std::to_string(frames[i].size()) + " bytes is above the limit of " +
             std::to_string(limits::kRowsBytes);
    }
  }
  return {};
}

Type read_type(HeaderReader& in) {
  return static_cast<Type>(in.number("message type", std::numeric_limits<std::uint8_t>::max()));
}

}  // namespace

Bytes encode_batch_header(const BatchHeader& h) {
  Writer out(Type::batch, h.own_letters ? 10 : 9);
  out.text(h.producer.text)
      .number(h.epoch.value)
      .number(h.first.value)
      .number(h.rows)
      .number(static_cast<std::uint64_t>(h.kind))
      .text(h.table)
      .texts(h.columns)
      .number(static_cast<std::uint64_t>(h.task_duration.count()))
      .text(h.source);
  if (h.own_letters) {
    out.boolean(true);
  }
  return out.take();
}

Result<BatchHeader> decode_batch_header(std::string_view frame) {
  HeaderReader in(frame);
  if (read_type(in) != Type::batch) {
    in.note("header is not that of a batch");
  }
  BatchHeader header = read_batch_header(in);
  in.finish();
  if (!in.ok()) {
    return fail(Errc::corrupt, in.problem());
  }
  return header;
}

Frames encode(const Message& message) {
  return std::visit(
      [](const auto& m) -> Frames {
        using M = std::decay_t<decltype(m)>;
        if constexpr (std::is_same_v<M, Batch>) {
          return {m.header_frame, m.rows_frame};
        } else if constexpr (std::is_same_v<M, Delivery>) {
          return {encode_header(m), m.header_frame, m.rows_frame};
        } else if constexpr (std::is_same_v<M, Status>) {
          return {encode_header(m), m.report};
        } else {
          return {encode_header(m)};
        }
      },
      message);
}

Result<Message> decode(const Frames& frames) {
  if (frames.empty()) {
    return fail(Errc::corrupt, "message has no frames");
  }
  HeaderReader in(frames[0].view());
  const Type type = read_type(in);
  if (in.ok()) {
    if (auto problem = frames_problem(type, frames); !problem.empty()) {
      in.note(std::move(problem));
    }
  }
  if (!in.ok()) {
    return fail(Errc::corrupt, in.problem());
  }
  Message message = read_body(type, in, frames);
  in.finish();
  if (!in.ok()) {
    return fail(Errc::corrupt, in.problem());
  }
  return message;
}

}  // namespace turnstile
