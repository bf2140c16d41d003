// The text log after a crash (promise 5): rows from the input go into a target, then its log's
// file becomes what the input says, as a crash may leave it: right as far as it was synced, behind
// that anything. The next writer makes it what the table says, to the byte, whatever lines it wrote
// from the batch and whatever it had to read back from the table.
#include <unistd.h>

#include <array>
#include <filesystem>
#include <memory>

#include "base/utf8.h"
#include "store/target.h"
#include "tests/fuzz/fuzz.h"

namespace turnstile::fuzz {
namespace {

using store::TextFile;

// The file's content, which outlives the file that is open.
class MemoryTextFile final : public TextFile {
 public:
  MemoryTextFile(std::string& content, std::size_t most) : content_(content), most_(most) {}

  Result<std::uint64_t> size() override { return content_.size(); }
  Result<std::size_t> write_some(std::uint64_t offset, std::string_view bytes) override {
    const auto part = bytes.substr(0, most_);
    const auto end = static_cast<std::size_t>(offset) + part.size();
    content_.resize(std::max(content_.size(), end));
    content_.replace(static_cast<std::size_t>(offset), part.size(), part);
    return part.size();
  }
  Result<void> truncate(std::uint64_t length) override {
    content_.resize(static_cast<std::size_t>(length));
    return {};
  }
  Result<void> sync() override { return {}; }

 private:
  std::string& content_;
  std::size_t most_;  // bytes that one write takes
};

class Scratch {
 public:
  Scratch() {
    const bool in_memory = std::filesystem::is_directory("/dev/shm");
    const std::filesystem::path parent =
        in_memory ? "/dev/shm" : std::filesystem::temp_directory_path();
    std::string name = (parent / "turnstile-fuzz-XXXXXX").string();
    expect(::mkdtemp(name.data()) != nullptr, "a folder can be made");
    folder_ = name;
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  [[nodiscard]] std::filesystem::path operator/(const char* name) const { return folder_ / name; }

 private:
  std::filesystem::path folder_;
};

constexpr std::array kTables{
    "CREATE TABLE t(a INTEGER, b TEXT, c REAL, d BLOB)",
    "CREATE TABLE t(id INTEGER PRIMARY KEY, a NUMERIC, b TEXT NOT NULL DEFAULT 'none', c)",
    "CREATE TABLE t(a TEXT UNIQUE, b INT, c ANY) STRICT",
    "CREATE TABLE t(a TEXT COLLATE NOCASE, b TEXT AS (a || '!') STORED, c INTEGER)",
};

// SQL's shown(TEXT): what a terminal would obey is escaped (base/utf8.h, tested by itself).
void show(sqlite3_context* context, int /*arguments*/, sqlite3_value** values) {
  const auto* text = reinterpret_cast<const char*>(sqlite3_value_text(values[0]));
  const auto bytes = static_cast<std::size_t>(sqlite3_value_bytes(values[0]));
  const std::string shown = printable({text == nullptr ? "" : text, bytes});
  sqlite3_result_text64(context, shown.data(), shown.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
}

// TARGET.md's words: what the file must hold.
std::string expected_lines(sqlite::Connection& db) {
  expect(sqlite3_create_function(db.handle(), "shown", 1, SQLITE_UTF8, nullptr, show, nullptr,
                                 nullptr) == SQLITE_OK,
         "shown() can be added");
  std::string text;
  auto columns = db.prepare("SELECT * FROM t LIMIT 0");
  expect(columns.has_value(), "the table is there");
  std::string sql = "SELECT '['";
  auto names = db.prepare("SELECT name FROM pragma_table_xinfo('t') WHERE hidden <> 1");
  std::string comma;
  while (names->step() == SQLITE_ROW) {
    const std::string name = sqlite::quoted(names->text(0));
    sql += " || " + comma + " CASE typeof(" + name +
           ") WHEN 'null' THEN '' WHEN 'blob' THEN 'x''' " + "|| lower(hex(" + name +
           ")) || '''' ELSE shown(CAST(" + name + " AS TEXT)) END";
    comma = "', ' ||";
  }
  auto lines = db.prepare(sql + " || ']' FROM t ORDER BY rowid");
  expect(lines.has_value(), "the table can be read");
  int code = SQLITE_ROW;
  while ((code = lines->step()) == SQLITE_ROW) {
    text += std::string(lines->text(0)) + "\n";
  }
  expect(code == SQLITE_DONE, "to its end");
  return text;
}

ValueRef value_of(Input& in) {
  switch (in.below(8)) {
    case 0:
      return Null{};
    case 1:
      return static_cast<std::int64_t>(in.below(256)) - 128;
    case 2:
      return static_cast<double>(in.below(256)) / 8 - 3;
    case 3:
      return Blob{in.take(in.below(12))};
    case 4: {
      std::int64_t wide = 1;
      for (int i = 0; i < 7; ++i) {
        wide = wide * 256 + static_cast<std::int64_t>(in.below(256));
      }
      return wide;
    }
    default:
      return in.take(in.below(24));
  }
}

class Crash {
 public:
  explicit Crash(Input& in) : in_(in) {}

  void run() {
    prepare();
    for (std::size_t batches = 1 + in_.below(3); batches > 0; --batches) {
      write_batch();
    }
    auto db = sqlite::Connection::open(folder_ / "t.db", sqlite::Access::read_write);
    expect(db.has_value(), "the target can be read");
    expect(content_ == expected_lines(*db), "the text log says what the table says");

    target_.reset();
    if (in_.below(2) == 1) {
      // A row that the record does not know of, as another program adds it.
      expect(db->execute("INSERT INTO t DEFAULT VALUES").has_value(), "another row");
    }
    damage(*db);
    open();
    expect(content_ == expected_lines(*db), "after a crash it is made what the table says");
  }

 private:
  void prepare() {
    auto db = sqlite::Connection::open(folder_ / "t.db", sqlite::Access::create);
    expect(db && db->execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF"), "a database");
    expect(db->execute(kTables.at(in_.below(kTables.size()))).has_value(), "a table");
    open();
  }

  void open() {
    store::TargetOptions options;
    options.path = folder_ / "t.db";
    options.text_path = folder_ / "out9.txt";
    options.text_table = "t";
    options.text_rotated = store::TextRotated::whole_table;
    options.open_text_file =
        [this](const std::filesystem::path&) -> Result<std::unique_ptr<TextFile>> {
      return std::unique_ptr<TextFile>(std::make_unique<MemoryTextFile>(content_, write_bytes_));
    };
    auto target = store::Target::open(std::move(options));
    expect(target.has_value(), "the target can be opened");
    target_ = std::move(*target);
    expect(target_->take_over().has_value(), "and written");
    expect(!target_->text_log_error(), "and its text log");
  }

  void write_batch() {
    BatchHeader header;
    header.producer = {"fuzz"};
    header.epoch = {1};
    header.first = {next_};
    header.table = "t";
    header.columns =
        in_.below(2) == 0 ? std::vector<std::string>{"a", "c"} : std::vector<std::string>{"c"};
    RowsEncoder encoder;
    const std::size_t rows = 1 + in_.below(5);
    for (std::size_t i = 0; i < rows; ++i) {
      std::vector<ValueRef> row;
      for (std::size_t value = 0; value < header.columns.size(); ++value) {
        row.push_back(value_of(in_));
      }
      encoder.add(std::span<const ValueRef>(row));
    }
    header.rows = encoder.rows();
    next_ += header.rows;
    const Bytes frame = encoder.take();
    expect(target_->begin().has_value(), "a transaction can begin");
    const auto outcome = target_->apply(header, frame);
    expect(outcome && outcome->outcome == Outcome::applied, "a batch is applied");
    expect(outcome->rows_applied + outcome->dead_now == header.rows,
           "each row is in the table or a dead letter");
    expect(target_->commit().has_value(), "and committed");
  }

  // Synced up to some line; anything behind it, or less than that altogether.
  void damage(sqlite::Connection& db) {
    const std::string whole = content_;
    std::vector<std::size_t> ends{0};
    for (std::size_t at = 0; (at = whole.find('\n', at)) != std::string::npos; ++at) {
      ends.push_back(at + 1);
    }
    const std::size_t line = in_.below(std::min<std::size_t>(ends.size(), 256));
    const std::size_t synced = ends[line];
    const std::string rowid = line == 0 ? "-9223372036854775808"
                                        : "(SELECT rowid FROM t ORDER BY rowid LIMIT 1 OFFSET " +
                                              std::to_string(line - 1) + ")";
    expect(db.execute("UPDATE turnstile_text_log SET synced_length = " + std::to_string(synced) +
                      ", synced_rowid = " + rowid)
               .has_value(),
           "the record can be changed");
    const bool shorter = in_.below(4) == 0;
    write_bytes_ = 1 + in_.below(256);
    const std::string_view garbage = in_.rest();
    if (*db.query_integer("SELECT count(*) FROM turnstile_text_log") == 0) {
      return;  // nothing was committed, so nothing was written: garbage would be another's file
    }
    content_ = shorter ? std::string(garbage.substr(0, synced > 0 ? synced - 1 : 0))
                       : whole.substr(0, synced) + std::string(garbage);
  }

  Input& in_;
  Scratch folder_;
  std::string content_;
  std::size_t write_bytes_ = SIZE_MAX;
  std::uint64_t next_ = 1;
  std::unique_ptr<store::Target> target_;
};

}  // namespace

void run_one(std::string_view input) {
  Input in(input);
  Crash(in).run();
}

std::vector<std::string> seeds() {
  std::vector<std::string> out;
  for (char table = 0; table < 4; ++table) {
    for (char damage = 0; damage < 4; ++damage) {
      std::string input{table, 1, 0, 3};
      for (const char* value : {"\5\5Rex\n!", "\1\12", "\2\20", "\3\4\1\2\3\4", "\5\7 1.50\0r",
                                "\4\1\2\3\4\5\6\7", "\6\3\xC3\xA9\r", "\5\4 12 "}) {
        input += value;
      }
      input += {1, 2, 5, 3, 'a', 'b', 'c', 1, 7, 0, 1, 2, damage, 9};
      out.push_back(input + "[1, half a li");
    }
  }
  return out;
}

}  // namespace turnstile::fuzz
