#include "store/books.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "proto/limits.h"

namespace turnstile::store {
namespace {

std::int64_t stored(std::uint64_t value) {
  return static_cast<std::int64_t>(value);
}
std::uint64_t loaded(std::int64_t value) {
  return static_cast<std::uint64_t>(value);
}

// FNV-1a: letters find their form by it.
std::int64_t hash_of(std::string_view table, std::string_view columns) {
  constexpr std::uint64_t kOffset = 14'695'981'039'346'656'037U;
  constexpr std::uint64_t kPrime = 1'099'511'628'211U;
  std::uint64_t hash = kOffset;
  for (const std::string_view text : {table, columns}) {
    for (const char c : text) {
      hash = (hash ^ static_cast<unsigned char>(c)) * kPrime;
    }
  }
  return stored(hash);
}

std::string json_array(const std::vector<std::string>& texts) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  constexpr unsigned kHalf = 4;
  constexpr unsigned kLow = 0xF;
  std::string out = "[";
  for (const auto& text : texts) {
    out += &text == &texts.front() ? "\"" : ",\"";
    for (const char c : text) {
      const auto byte = static_cast<unsigned char>(c);
      if (c == '"' || c == '\\') {
        out += '\\';
        out += c;
      } else if (byte < ' ') {
        out += "\\u00";
        out += kDigits[byte >> kHalf];
        out += kDigits[byte & kLow];
      } else {
        out += c;
      }
    }
    out += '"';
  }
  return out + "]";
}

}  // namespace

void DeadRows::add(std::uint32_t rows, Sequence sequence, std::string_view reason) {
  count += rows;
  if (listed.size() < limits::kDeadListed) {
    listed.push_back({sequence, std::string(reason)});
  }
}

sqlite::Format Books::format() {
  return {.file = "the target",
          .table = "turnstile_meta",
          .key = schema::kMetaFormatVersion,
          .version = schema::kFormatVersion,
          .migrations = schema::kMigrations,
          // A consumer of the older version may still write: it is fenced (promise 4).
          .besides = "UPDATE main.turnstile_meta SET value = value + 1 WHERE key = 'generation'"};
}

Result<void> Books::create(sqlite::Connection& connection, const sqlite::Format& format) {
  auto has_meta = connection.query_integer(
      "SELECT count(*) FROM main.sqlite_schema WHERE name = 'turnstile_meta'");
  if (!has_meta) {
    return tl::make_unexpected(std::move(has_meta.error()));
  }
  if (*has_meta != 0) {
    if (auto migrated = sqlite::migrate(connection, format); !migrated) {
      return tl::make_unexpected(std::move(migrated.error()));
    }
  }
  auto found = connection.query_integer(schema::kCountObjects);
  if (!found) {
    return tl::make_unexpected(std::move(found.error()));
  }
  if (*found == schema::kObjects) {
    return {};
  }
  auto made =
      connection.execute("BEGIN IMMEDIATE")
          .and_then([&] { return connection.execute(schema::kCreate); })
          .and_then([&] {
            // Of a database that becomes a target now: nobody relies on rows that its
            // foreign keys forbid.
            return *has_meta == 0 ? connection.execute(schema::kCheckForeignKeys) : Result<void>();
          })
          .and_then([&] { return connection.execute("COMMIT"); });
  if (!made && connection.in_transaction()) {
    // The first failure is the one to tell; the file is closed next, which ends the transaction.
    static_cast<void>(connection.execute("ROLLBACK"));
  }
  return made;
}

Result<Books> Books::open(sqlite::Connection& connection) {
  Books books(connection);
  struct Prepared {
    sqlite::Statement* statement;
    const char* sql;
  };
  const std::array wanted{
      Prepared{&books.generation_,
               "SELECT value FROM main.turnstile_meta WHERE key = 'generation'"},
      Prepared{&books.next_generation_,
               "UPDATE main.turnstile_meta SET value = value + 1 WHERE key = 'generation'"},
      Prepared{&books.progress_,
               "SELECT epoch, through, source, letter_bytes FROM main.turnstile_producers "
               "WHERE producer = ?1"},
      Prepared{&books.save_progress_,
               "INSERT INTO main.turnstile_producers(producer, epoch, through, rows_applied, "
               "  rows_dead, changes, letters_gone, source, updated_at_ms, letter_bytes) "
               "VALUES (?1, ?2, ?3, ?4, ?5, ?8, 0, ?6, ?7, ?9) "
               "ON CONFLICT(producer) DO UPDATE SET epoch = ?2, through = ?3, "
               "  rows_applied = rows_applied + ?4, rows_dead = rows_dead + ?5, "
               "  changes = changes + ?8, letter_bytes = letter_bytes + ?9, "
               "  source = CASE WHEN ?6 = '' THEN source ELSE ?6 END, updated_at_ms = ?7"},
      Prepared{&books.add_dead_letter_,
               "INSERT INTO main.turnstile_letters(producer, epoch, sequence, rows, kind, form, "
               "  bytes, at_ms, live, reason, row) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?)"},
      Prepared{&books.find_form_,
               "SELECT id FROM main.turnstile_forms "
               "WHERE hash = ?1 AND table_name = ?2 AND columns = ?3"},
      Prepared{&books.add_form_,
               "INSERT INTO main.turnstile_forms(hash, table_name, columns) VALUES (?1, ?2, ?3)"},
      // ?1: its last letter's form.
      Prepared{&books.remove_form_,
               "DELETE FROM main.turnstile_forms WHERE id = ?1 AND "
               "  NOT EXISTS (SELECT 1 FROM main.turnstile_letters WHERE form = ?1)"},
      Prepared{&books.read_dead_letters_,
               "SELECT sequence, rows, reason FROM main.turnstile_letters "
               "WHERE live AND producer = ?1 AND sequence BETWEEN ?2 AND ?4 "
               "  AND sequence + rows > ?3 ORDER BY sequence"},
      Prepared{
          &books.count_dead_letters_,
          "SELECT coalesce(sum(rows), 0), coalesce(sum(bytes), 0) FROM main.turnstile_letters"},
      Prepared{
          &books.find_dead_letter_,
          "SELECT kind, producer, rows, live, bytes FROM main.turnstile_letters WHERE id = ?1"},
      Prepared{&books.remove_dead_letter_,
               "DELETE FROM main.turnstile_letters WHERE id = ?1 RETURNING form"},
      Prepared{&books.count_letter_gone_,
               "UPDATE main.turnstile_producers SET letters_gone = letters_gone + ?2, "
               "  letter_bytes = max(0, letter_bytes - ?3) WHERE producer = ?1"},
      Prepared{&books.has_idle_,
               "SELECT EXISTS (SELECT 1 FROM main.turnstile_producers WHERE updated_at_ms < ?1)"},
      // A name may start again at sequence 1: its earlier dead letters stay, but answer no more.
      Prepared{&books.retire_letters_,
               "UPDATE main.turnstile_letters SET live = 0 WHERE live AND producer IN "
               "  (SELECT producer FROM main.turnstile_producers WHERE updated_at_ms < ?1)"},
      Prepared{&books.forget_idle_,
               "DELETE FROM main.turnstile_producers WHERE updated_at_ms < ?1"},
  };
  for (const auto& [statement, sql] : wanted) {
    auto prepared = connection.prepare(sql);
    if (!prepared) {
      return tl::make_unexpected(std::move(prepared.error()));
    }
    *statement = std::move(*prepared);
  }
  return books;
}

tl::unexpected<Error> Books::failure(int code, std::string_view doing) const {
  return tl::make_unexpected(connection_->error(code, doing));
}

Result<Generation> Books::generation() {
  const sqlite::ResetAtEnd reset(generation_);
  if (const int code = generation_.step(); code != SQLITE_ROW) {
    return code == SQLITE_DONE
               ? Result<Generation>(
                     fail(Errc::corrupt,
                          connection_->path().string() + " does not say which consumer writes it",
                          "its table turnstile_meta was changed: restore it from a copy"))
               : Result<Generation>(failure(code, "reading who writes the target"));
  }
  return Generation{loaded(generation_.integer(0))};
}

Result<Generation> Books::next_generation() {
  {
    const sqlite::ResetAtEnd reset(next_generation_);
    if (const int code = next_generation_.step(); code != SQLITE_DONE) {
      return failure(code, "becoming the target's writer");
    }
  }
  return generation();
}

Result<ProducerProgress> Books::progress(const ProducerId& producer) {
  const sqlite::ResetAtEnd reset(progress_);
  progress_.bind(1, std::string_view(producer.text));
  const int code = progress_.step();
  if (code == SQLITE_DONE) {
    return ProducerProgress{};
  }
  if (code != SQLITE_ROW) {
    return failure(code, "reading a producer's progress");
  }
  return ProducerProgress{.known = true,
                          .epoch = {loaded(progress_.integer(0))},
                          .through = {loaded(progress_.integer(1))},
                          .source = std::string(progress_.text(2)),
                          .letter_bytes = loaded(progress_.integer(3))};
}

Result<void> Books::save_progress(const BatchHeader& header, Sequence through, const Counts& counts,
                                  std::int64_t now_ms) {
  const sqlite::ResetAtEnd reset(save_progress_);
  int position = 0;
  save_progress_.bind(++position, std::string_view(header.producer.text));
  save_progress_.bind(++position, stored(header.epoch.value));
  save_progress_.bind(++position, stored(through.value));
  save_progress_.bind(++position, std::int64_t{counts.applied});
  save_progress_.bind(++position, std::int64_t{counts.dead});
  save_progress_.bind(++position, std::string_view(header.source));
  save_progress_.bind(++position, now_ms);
  save_progress_.bind(++position, std::int64_t{counts.changes});
  save_progress_.bind(++position, stored(counts.letter_bytes));
  if (const int code = save_progress_.step(); code != SQLITE_DONE) {
    return failure(code, "recording a producer's progress");
  }
  return {};
}

std::uint64_t Books::bytes_of(const DeadLetter& letter) {
  constexpr std::uint64_t kOther = 100;  // its numbers, its producer and its place in the index
  return kOther + letter.row.size() + letter.reason.size();
}

Result<std::uint64_t> Books::add_dead_letter(const BatchHeader& header, const DeadLetter& letter,
                                             std::int64_t now_ms, std::int64_t& form) {
  std::uint64_t bytes = bytes_of(letter);
  if (form == 0) {
    auto added = find_form(header, form);
    if (!added) {
      return added;
    }
    bytes += *added;
  }
  const sqlite::ResetAtEnd reset(add_dead_letter_);
  int position = 0;
  add_dead_letter_.bind(++position, std::string_view(header.producer.text));
  add_dead_letter_.bind(++position, stored(header.epoch.value));
  add_dead_letter_.bind(++position, stored(letter.sequence.value));
  add_dead_letter_.bind(++position, std::int64_t{letter.rows});
  add_dead_letter_.bind(++position, static_cast<std::int64_t>(letter.kind));
  add_dead_letter_.bind(++position, form);
  add_dead_letter_.bind(++position, stored(bytes));
  add_dead_letter_.bind(++position, now_ms);
  add_dead_letter_.bind(++position, letter.reason);
  add_dead_letter_.bind_blob(++position, letter.row);
  if (const int code = add_dead_letter_.step(); code != SQLITE_DONE) {
    return failure(code, "keeping a dead letter");
  }
  return bytes;
}

// Or makes it. How many bytes it adds.
Result<std::uint64_t> Books::find_form(const BatchHeader& header, std::int64_t& form) {
  constexpr const char* kDoing = "keeping a dead letter";
  const std::string columns = json_array(header.columns);
  const std::int64_t hash = hash_of(header.table, columns);
  for (auto* statement : {&find_form_, &add_form_}) {
    const sqlite::ResetAtEnd reset(*statement);
    statement->bind(1, hash);
    statement->bind(2, std::string_view(header.table));
    statement->bind(3, std::string_view(columns));
    const int code = statement->step();
    if (code == SQLITE_ROW) {
      form = statement->integer(0);
      return 0;
    }
    if (code != SQLITE_DONE) {
      return failure(code, kDoing);
    }
  }
  form = connection_->last_insert_rowid();
  return header.table.size() + columns.size();
}

Result<void> Books::read_dead_letters(const ProducerId& producer, Sequence first, Sequence last,
                                      DeadRows& into, Letters which) {
  const auto is_enough = [&] {
    return which == Letters::listed && into.listed.size() == limits::kDeadListed;
  };
  // A letter that stands for a whole batch may begin before the range.
  const std::uint64_t earliest =
      first.value > limits::kBatchRows ? first.value - limits::kBatchRows : 0;
  const sqlite::ResetAtEnd reset(read_dead_letters_);
  int position = 0;
  read_dead_letters_.bind(++position, std::string_view(producer.text));
  read_dead_letters_.bind(++position, stored(earliest));
  read_dead_letters_.bind(++position, stored(first.value));
  read_dead_letters_.bind(++position, stored(last.value));
  int code = SQLITE_DONE;
  while (!is_enough() && (code = read_dead_letters_.step()) == SQLITE_ROW) {
    const std::uint64_t begin = loaded(read_dead_letters_.integer(0));
    const std::uint64_t end = begin + loaded(read_dead_letters_.integer(1));
    const std::uint64_t from = std::max(begin, first.value);
    const std::uint64_t to = std::min(end, last.value + 1);
    into.add(static_cast<std::uint32_t>(to - from), {from}, read_dead_letters_.text(2));
  }
  if (code != SQLITE_DONE && code != SQLITE_ROW) {
    return failure(code, "reading dead letters");
  }
  return {};
}

Result<LetterTotals> Books::count_dead_letters() {
  const sqlite::ResetAtEnd reset(count_dead_letters_);
  if (const int code = count_dead_letters_.step(); code != SQLITE_ROW) {
    return failure(code, "counting dead letters");
  }
  return LetterTotals{.rows = loaded(count_dead_letters_.integer(0)),
                      .bytes = loaded(count_dead_letters_.integer(1))};
}

Result<bool> Books::checks_foreign_keys() {
  return connection_->query_integer(schema::kReadForeignKeys).map([](std::int64_t value) {
    return value != 0;
  });
}

Result<std::optional<KeptLetter>> Books::find_dead_letter(std::int64_t id) {
  const sqlite::ResetAtEnd reset(find_dead_letter_);
  find_dead_letter_.bind(1, id);
  const int code = find_dead_letter_.step();
  if (code == SQLITE_DONE) {
    return std::optional<KeptLetter>();
  }
  if (code != SQLITE_ROW) {
    return failure(code, "reading a dead letter");
  }
  return std::optional(
      KeptLetter{.id = id,
                 .kind = static_cast<schema::LetterKind>(find_dead_letter_.integer(0)),
                 .producer = std::string(find_dead_letter_.text(1)),
                 .rows = loaded(find_dead_letter_.integer(2)),
                 .live = find_dead_letter_.integer(3) != 0,
                 .bytes = loaded(find_dead_letter_.integer(4))});
}

Result<void> Books::remove_dead_letter(const KeptLetter& letter) {
  std::int64_t form = 0;
  {
    const sqlite::ResetAtEnd reset(remove_dead_letter_);
    remove_dead_letter_.bind(1, letter.id);
    int code = remove_dead_letter_.step();
    if (code == SQLITE_ROW) {
      form = remove_dead_letter_.integer(0);
      code = remove_dead_letter_.step();
    }
    if (code != SQLITE_DONE) {
      return failure(code, "removing a dead letter");
    }
  }
  {
    const sqlite::ResetAtEnd reset(remove_form_);
    remove_form_.bind(1, form);
    if (const int code = remove_form_.step(); code != SQLITE_DONE) {
      return failure(code, "removing a dead letter");
    }
  }
  if (!letter.live) {
    return {};
  }
  const sqlite::ResetAtEnd reset(count_letter_gone_);
  count_letter_gone_.bind(1, std::string_view(letter.producer));
  count_letter_gone_.bind(2, stored(letter.rows));
  count_letter_gone_.bind(3, stored(letter.bytes));
  if (const int code = count_letter_gone_.step(); code != SQLITE_DONE) {
    return failure(code, "counting a removed dead letter");
  }
  return {};
}

Result<bool> Books::has_idle(std::int64_t before_ms) {
  const sqlite::ResetAtEnd reset(has_idle_);
  has_idle_.bind(1, before_ms);
  if (const int code = has_idle_.step(); code != SQLITE_ROW) {
    return failure(code, "looking for idle producers");
  }
  return has_idle_.integer(0) != 0;
}

Result<std::int64_t> Books::latest_update() {
  return connection_->query_integer(
      "SELECT coalesce(max(updated_at_ms), 0) FROM main.turnstile_producers",
      "looking for idle producers");
}

Result<void> Books::move_updates(std::int64_t shift_ms, std::int64_t now_ms) {
  const std::string now = std::to_string(now_ms);
  return connection_->execute("UPDATE main.turnstile_producers SET updated_at_ms = min(" + now +
                                  ", updated_at_ms + " + std::to_string(shift_ms) + ")",
                              "counting idle time after the clock jumped");
}

Result<void> Books::forget_idle(std::int64_t before_ms) {
  for (auto* statement : {&retire_letters_, &forget_idle_}) {
    const sqlite::ResetAtEnd reset(*statement);
    statement->bind(1, before_ms);
    if (const int code = statement->step(); code != SQLITE_DONE) {
      return failure(code, "forgetting idle producers");
    }
  }
  return {};
}

}  // namespace turnstile::store
