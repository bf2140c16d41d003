#include "tests/proto/wire_testing.h"

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <limits>
#include <sstream>
#include <utility>

namespace turnstile::testing {
namespace {

constexpr auto kAny = std::numeric_limits<std::uint64_t>::max();
constexpr auto kAny32 = std::numeric_limits<std::uint32_t>::max();

std::vector<std::string> random_texts(Random& random, std::size_t max_count) {
  std::vector<std::string> out(1 + random.below(max_count));
  std::generate(out.begin(), out.end(), [&] { return "c" + random.text(20); });
  return out;
}

ProducerId random_producer(Random& random) {
  constexpr std::string_view kAllowed =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
  ProducerId id;
  id.text.resize(1 + random.below(limits::kProducerBytes));
  std::generate(id.text.begin(), id.text.end(),
                [&] { return kAllowed[random.below(kAllowed.size())]; });
  return id;
}

std::vector<DeadRow> random_dead(Random& random) {
  std::vector<DeadRow> out(random.below(4) == 0 ? random.below(limits::kDeadListed + 1)
                                                : random.below(3));
  for (DeadRow& row : out) {
    row = {{random.number(limits::kSequence)}, random.text(limits::kReasonBytes)};
  }
  return out;
}

BatchHeader random_header(Random& random) {
  BatchHeader h;
  h.producer = random_producer(random);
  h.epoch = {random.number(limits::kEpoch)};
  h.kind = static_cast<BatchKind>(1 + random.below(4));
  h.rows = h.kind == BatchKind::define
               ? 1
               : static_cast<std::uint32_t>(1 + random.below(limits::kBatchRows));
  h.first = {1 + random.number(limits::kSequence - h.rows - 1)};
  h.table = "t" + random.text(limits::kNameBytes - 1);
  h.columns = random_texts(random, 30);
  h.task_duration = std::chrono::milliseconds(random.below(60'001));
  h.source = random.text(limits::kSourceBytes);
  h.own_letters = true;
  return h;
}

Bytes random_bytes(Random& random) {
  std::string out(random.below(300), '\0');
  std::generate(out.begin(), out.end(), [&] { return static_cast<char>(random.below(256)); });
  return Bytes(std::move(out));
}

Hello random_hello(Random& random) {
  Hello m;
  m.role = static_cast<Role>(1 + random.below(3));
  m.producer = m.role == Role::producer ? random_producer(random)
                                        : ProducerId{random.text(limits::kReasonBytes)};
  m.named = m.role != Role::producer || random.chance();
  m.epoch = {random.number(limits::kEpoch)};
  m.sent = Sequence{random.number(limits::kSequence)};
  m.known = {random.number(m.sent->value)};
  m.source = random.text(limits::kSourceBytes);
  m.stored = Sequence{random.number(m.sent->value)};
  m.sure = random.chance();
  m.new_target = true;  // the last field, so that all are there
  if (!m.named) {
    m.producer.text = "00112233445566778899AABBCCDDeeff";
    m.epoch = {1};
  }
  return m;
}

Results random_results(Random& random) {
  Results m;
  m.lease = {random.number(kAny)};
  m.stats = {random.number(kAny),
             random.number(kAny),
             random.text(limits::kReasonBytes),
             random.text(limits::kReasonBytes),
             {}};
  m.stats.tables.resize(1 + random.below(limits::kTablesListed));  // so that no field is missing
  for (TableTrouble& t : m.stats.tables) {
    t = {random.text(limits::kNameBytes), random.text(limits::kReasonBytes)};
  }
  m.results.resize(random.below(20));
  for (BatchResult& r : m.results) {
    r = {{random.number(kAny)},
         static_cast<Outcome>(random.below(5)),
         {random.number(limits::kSequence)},
         static_cast<std::uint32_t>(random.number(kAny32)),
         random_dead(random)};
  }
  return m;
}

Progress random_progress(Random& random) {
  return {random.chance(),
          {random.number(limits::kEpoch)},
          {random.number(limits::kSequence)},
          random.text(limits::kSourceBytes),
          static_cast<std::uint32_t>(random.number(kAny32)),
          random_dead(random)};
}

Welcome random_welcome(Random& random) {
  Welcome m;
  m.version = static_cast<std::uint32_t>(random.number(kAny32));
  m.broker = random.text(limits::kProducerBytes);
  m.epoch = {random.number(limits::kEpoch)};
  m.through = {random.number(limits::kSequence)};
  m.through_is_sure = random.chance();
  m.source = random.text(limits::kSourceBytes);
  m.credit_bytes = random.number(kAny);
  m.consumer_attached = random.chance();
  m.last = Sequence{random.number(limits::kSequence)};
  return m;
}

// Writes "name=value " for each field.
class Describer {
 public:
  template <typename T>
  Describer& field(const char* name, const T& value) {
    out_ << name << '=' << value << ' ';
    return *this;
  }
  Describer& texts(const char* name, const std::vector<std::string>& values) {
    out_ << name << "=[";
    for (const auto& value : values) {
      out_ << value << '|';
    }
    out_ << "] ";
    return *this;
  }
  Describer& dead(std::uint32_t count, const std::vector<DeadRow>& rows) {
    out_ << "dead=" << count << '[';
    for (const auto& row : rows) {
      out_ << row.sequence.value << ':' << row.reason << '|';
    }
    out_ << "] ";
    return *this;
  }
  Describer& header(const BatchHeader& h) {
    return field("producer", h.producer.text)
        .field("epoch", h.epoch.value)
        .field("first", h.first.value)
        .field("rows", h.rows)
        .field("kind", static_cast<int>(h.kind))
        .field("table", h.table)
        .texts("columns", h.columns)
        .field("task_duration", h.task_duration.count())
        .field("source", h.source)
        .field("own_letters", h.own_letters);
  }

  void operator()(const Hello& m) {
    field("HELLO version", m.version)
        .field("role", static_cast<int>(m.role))
        .field("producer", m.producer.text)
        .field("named", m.named)
        .field("epoch", m.epoch.value)
        .field("known", m.known.value)
        .field("source", m.source);
    if (m.stored) {
      field("stored", m.stored->value);
    }
    if (m.sent) {
      field("sent", m.sent->value);
    }
    field("sure", m.sure).field("new_target", m.new_target);
  }
  void operator()(const Heartbeat& /*m*/) { out_ << "HEARTBEAT"; }
  void operator()(const Bye& /*m*/) { out_ << "BYE"; }
  void operator()(const Batch& m) {
    out_ << "BATCH ";
    header(m.header)
        .field("header_frame", m.header_frame.view())
        .field("rows_frame", m.rows_frame.view());
  }
  void operator()(const CheckTable& m) {
    field("CHECK_TABLE request", m.request).field("table", m.table).texts("columns", m.columns);
  }
  void operator()(const AskStatus& m) { field("ASK_STATUS request", m.request); }
  void operator()(const AskDead& m) {
    field("ASK_DEAD request", m.request).field("since", m.since.value);
  }
  void operator()(const Dead& m) { field("DEAD request", m.request).dead(0, m.dead); }
  void operator()(const Results& m) {
    field("RESULTS lease", m.lease.value)
        .field("rows_applied", m.stats.rows_applied)
        .field("dead_letters", m.stats.dead_letters)
        .field("target", m.stats.target);
    for (const auto& r : m.results) {
      field("ticket", r.ticket.value)
          .field("outcome", static_cast<int>(r.outcome))
          .field("through", r.through.value)
          .dead(r.dead_count, r.dead);
    }
    field("problem", m.stats.problem);
    for (const auto& t : m.stats.tables) {
      field("table", t.table).field("reason", t.reason);
    }
  }
  void operator()(const ProgressAnswer& m) {
    field("PROGRESS request", m.request)
        .field("known", m.progress.known)
        .field("epoch", m.progress.epoch.value)
        .field("through", m.progress.through.value)
        .field("source", m.progress.source)
        .dead(m.progress.dead_count, m.progress.dead);
  }
  void operator()(const TableAnswer& m) {
    field("TABLE request", m.request)
        .field("state", static_cast<int>(m.state))
        .field("detail", m.detail);
    for (const auto& type : m.types) {
      field("type", type);
    }
  }
  void operator()(const Welcome& m) {
    field("WELCOME version", m.version)
        .field("broker", m.broker)
        .field("epoch", m.epoch.value)
        .field("through", m.through.value)
        .field("sure", m.through_is_sure)
        .field("source", m.source)
        .field("credit", m.credit_bytes)
        .field("consumer", m.consumer_attached)
        .field("last", m.last ? std::to_string(m.last->value) : "not known");
  }
  void operator()(const Stored& m) { field("STORED through", m.through.value); }
  void operator()(const Applied& m) {
    field("APPLIED through", m.through.value).dead(m.dead_count, m.dead);
  }
  void operator()(const Refusal& m) {
    field("REFUSAL code", static_cast<int>(m.code))
        .field("sequence", m.sequence.value)
        .field("text", m.text);
  }
  void operator()(const LeaseState& m) {
    field("LEASE granted", m.granted)
        .field("lease", m.lease.value)
        .field("duration", m.duration.count());
  }
  void operator()(const Delivery& m) {
    field("DELIVERY ticket", m.ticket.value)
        .field("header_frame", m.header_frame.view())
        .field("rows_frame", m.rows_frame.view());
  }
  void operator()(const AskProgress& m) {
    field("ASK_PROGRESS request", m.request)
        .field("producer", m.producer.text)
        .field("since", m.since.value)
        .field("list_only", m.list_only);
  }
  void operator()(const Status& m) {
    field("STATUS request", m.request).field("report", m.report.view());
  }

  [[nodiscard]] std::string text() const { return out_.str(); }

 private:
  std::ostringstream out_;
};

}  // namespace

std::string from_hex(std::string_view digits) {
  std::string out;
  int high = -1;
  for (const char c : digits) {
    constexpr std::string_view kDigits = "0123456789ABCDEFabcdef";
    const auto at = kDigits.find(c);
    if (at == std::string_view::npos) {
      continue;
    }
    const int value = static_cast<int>(at < 16 ? at : at - 6);
    if (high < 0) {
      high = value;
    } else {
      out += static_cast<char>(high * 16 + value);
      high = -1;
    }
  }
  return out;
}

std::string big_endian(std::uint64_t value, std::size_t length) {
  std::string out;
  for (std::size_t i = length; i-- > 0;) {
    out += static_cast<char>((value >> (8 * i)) & 0xFFU);
  }
  return out;
}

namespace pack {
std::string array(std::uint64_t count) {
  return from_hex("DD") + big_endian(count, 4);
}
std::string number(std::uint64_t value) {
  return from_hex("CF") + big_endian(value, 8);
}
std::string text(std::string_view value) {
  return from_hex("DB") + big_endian(value.size(), 4) + std::string(value);
}
std::string boolean(bool value) {
  return from_hex(value ? "C3" : "C2");
}
std::string nil() {
  return from_hex("C0");
}
}  // namespace pack

std::uint64_t Random::number(std::uint64_t max) {
  const std::uint64_t bits = engine_() >> below(64);
  return max == kAny ? bits : bits % (max + 1);
}

std::string Random::text(std::size_t max_bytes) {
  static const std::vector<std::string> pieces = {
      "a", "Z", "7", " ", "'", "\"", "\n", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x90\x95"};
  std::string out;
  const std::size_t bytes = below(4) == 0 ? max_bytes : below(std::min<std::size_t>(max_bytes, 24));
  while (true) {
    const std::string& piece = pieces[below(pieces.size())];
    if (out.size() + piece.size() > bytes) {
      return out;
    }
    out += piece;
  }
}

std::uint64_t chosen_seed() {
  const char* given = std::getenv("TURNSTILE_TEST_SEED");
  const std::uint64_t seed = given != nullptr ? std::stoull(given) : std::random_device{}();
  std::cout << "TURNSTILE_TEST_SEED=" << seed << '\n';
  return seed;
}

Message random_message(std::size_t index, Random& random) {
  switch (index) {
    case 0:
      return random_hello(random);
    case 1:
      return Heartbeat{};
    case 2:
      return Bye{};
    case 3: {
      const BatchHeader header = random_header(random);
      return Batch{header, encode_batch_header(header), random_bytes(random)};
    }
    case 4:
      return CheckTable{random.number(kAny), "t" + random.text(limits::kNameBytes - 1),
                        random_texts(random, 30)};
    case 5:
      return AskStatus{random.number(kAny)};
    case 6:
      return AskDead{random.number(kAny), {random.number(limits::kSequence)}};
    case 7:
      return random_results(random);
    case 8:
      return ProgressAnswer{random.number(kAny), random_progress(random)};
    case 9:
      return TableAnswer{random.number(kAny), static_cast<TableState>(random.below(5)),
                         random.text(limits::kReasonBytes), random_texts(random, 5)};
    case 10:
      return random_welcome(random);
    case 11:
      return Stored{{random.number(limits::kSequence)}};
    case 12:
      return Applied{{random.number(limits::kSequence)},
                     static_cast<std::uint32_t>(random.number(kAny32)),
                     random_dead(random)};
    case 13:
      return Refusal{static_cast<RefusalCode>(1 + random.below(9)),
                     {random.number(limits::kSequence)},
                     random.text(limits::kReasonBytes)};
    case 14:
      return LeaseState{
          random.chance(), {random.number(kAny)}, std::chrono::milliseconds(random.number(kAny32))};
    case 15:
      return Delivery{
          {random.number(kAny)}, encode_batch_header(random_header(random)), random_bytes(random)};
    case 16:
      return AskProgress{random.number(kAny),
                         random_producer(random),
                         {random.number(limits::kSequence)},
                         random.chance()};
    case 17:
      return Status{random.number(kAny), random_bytes(random)};
    default:
      return Dead{random.number(kAny), random_dead(random)};
  }
}

std::string describe(const Message& message) {
  Describer describer;
  std::visit(describer, message);
  return describer.text();
}

BatchHeader small_header() {
  BatchHeader h;
  h.producer = {"P1"};
  h.epoch = {7};
  h.first = {1};
  h.rows = 1;
  h.table = "pets";
  h.columns = {"name", "breed"};
  return h;
}

std::vector<std::string> small_header_fields() {
  return {pack::number(4),  // the type
          pack::text("P1"),
          pack::number(7),
          pack::number(1),
          pack::number(1),
          pack::number(1),
          pack::text("pets"),
          pack::array(2) + pack::text("name") + pack::text("breed"),
          pack::number(0),
          pack::text("")};
}

std::string header_of(const std::vector<std::string>& fields) {
  std::string out = pack::array(fields.size());
  for (const auto& field : fields) {
    out += field;
  }
  return out;
}

Frames frames(std::vector<std::string> texts) {
  Frames out;
  for (auto& text : texts) {
    out.emplace_back(std::move(text));
  }
  return out;
}

}  // namespace turnstile::testing
