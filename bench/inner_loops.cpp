#include "bench/inner_loops.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "bench/process.h"
#include "bench/rows.h"
#include "broker/journal.h"
#include "producers/csv/scanner.h"
#include "proto/messages.h"
#include "proto/rows.h"
#include "store/sqlite.h"
#include "store/tables.h"
#include "store/target.h"
#include "store/text_lines.h"

namespace turnstile::bench {
namespace {

constexpr std::uint32_t kBatchRows = 1000;
constexpr std::size_t kBatches = kRowsPerRun / kBatchRows;
constexpr const char* kProducer = "bench";

// Keeps the compiler from removing the computation of `value`.
template <typename T>
void keep(const T& value) {
  asm volatile("" : : "g"(&value) : "memory");
}

// The batches of one run: rows 1 to kRowsPerRun.
std::vector<Batch> batches_of(const std::filesystem::path& csv) {
  Sample sample(csv);
  std::vector<Batch> batches;
  RowsEncoder encoder;
  for (std::size_t i = 0; i < kBatches; ++i) {
    const std::uint64_t first = i * kBatchRows + 1;
    for (std::uint64_t id = first; id < first + kBatchRows; ++id) {
      encoder.add(sample.row(id));
    }
    Batch& batch = batches.emplace_back();
    batch.header.producer = {kProducer};
    batch.header.epoch = {1};
    batch.header.first = {first};
    batch.header.rows = kBatchRows;
    batch.header.table = kTable;
    batch.header.columns = column_names();
    batch.header_frame = encode_batch_header(batch.header);
    batch.rows_frame = encoder.take();
  }
  return batches;
}

class CsvRow final : public InnerLoop {
 public:
  CsvRow(const std::filesystem::path& csv, const std::filesystem::path& directory) {
    const auto path = directory / "rows.csv";
    Sample(csv).write_csv(path, 1, kRowsPerRun);
    std::ifstream file(path, std::ios::binary);
    std::string header;
    std::getline(file, header);
    source_.text.assign(std::istreambuf_iterator<char>(file), {});
  }

  void run(std::uint64_t rows) override {
    csv::Scanner scanner(source_, csv::Limits{});
    scanner.expect_columns(kColumns);
    for (std::uint64_t i = 0; i < rows; ++i) {
      const auto item = value_of(scanner.next());
      keep(item);
    }
  }

 private:
  // Repeats the same rows endlessly.
  struct Endless final : csv::ByteSource {
    std::string text;
    std::size_t at = 0;
    Result<std::size_t> read(std::span<char> into) override {
      const std::size_t count = std::min(into.size(), text.size() - at);
      std::copy_n(text.begin() + static_cast<std::ptrdiff_t>(at), count, into.begin());
      at = (at + count) % text.size();
      return count;
    }
  };
  Endless source_;
};

class Encode final : public InnerLoop {
 public:
  Encode(const std::filesystem::path& csv, const std::filesystem::path& directory)
      : rows_([&] {
          const auto path = directory / "encode.csv";
          Sample(csv).write_csv(path, 1, kBatchRows);
          return MemoryRows(path);
        }()) {}

  void run(std::uint64_t rows) override {
    for (std::uint64_t done = 0; done < rows; done += kBatchRows) {
      for (std::size_t i = 0; i < kBatchRows; ++i) {
        encoder_.add(rows_.row(i));
      }
      const Bytes frame = encoder_.take();
      keep(frame);
    }
  }

 private:
  MemoryRows rows_;
  RowsEncoder encoder_;
};

class Decode final : public InnerLoop {
 public:
  Decode(const std::filesystem::path& csv, const std::filesystem::path& /*directory*/)
      : batch_(batches_of(csv).front()) {}

  void run(std::uint64_t rows) override {
    for (std::uint64_t done = 0; done < rows; done += kBatchRows) {
      check(decode_rows(batch_.rows_frame.view(), kBatchRows, decoded_));
      keep(decoded_);
    }
  }

 private:
  Batch batch_;
  DecodedRows decoded_;
};

// Decode, bind and step: applies a group of batches in one transaction of a target, and rolls it
// back, so that the file does not change.
class Apply final : public InnerLoop {
 public:
  Apply(const std::filesystem::path& csv, const std::filesystem::path& directory)
      : batches_(batches_of(csv)) {
    store::TargetOptions options;
    options.path = directory / "target.db";
    target_ = value_of(store::Target::open(std::move(options)));
    static_cast<void>(value_of(target_->take_over()));
    static_cast<void>(value_of(target_->check_table(kTable, column_names())));
  }

  void run(std::uint64_t rows) override {
    for (std::uint64_t done = 0; done < rows; done += kRowsPerRun) {
      check(target_->begin());
      for (const auto& batch : batches_) {
        const auto outcome = value_of(target_->apply(batch.header, batch.rows_frame));
        if (outcome.rows_applied != kBatchRows) {
          throw Failure("a batch was not applied");
        }
      }
      target_->rollback();
    }
  }

 private:
  std::vector<Batch> batches_;
  std::unique_ptr<store::Target> target_;
};

// Stores batches in the journal in one synced transaction, and removes them in the next one.
class JournalAppend final : public InnerLoop {
 public:
  JournalAppend(const std::filesystem::path& csv, const std::filesystem::path& directory) {
    for (const auto& batch : batches_of(csv)) {
      held_.push_back({.producer = batch.header.producer,
                       .first = batch.header.first,
                       .last = batch.header.last(),
                       .header_frame = batch.header_frame,
                       .rows_frame = batch.rows_frame,
                       .offset = std::nullopt,
                       .since = {},
                       .ticket = {}});
    }
    broker::JournalOptions options;
    options.path = directory / "journal.db";
    journal_.emplace(value_of(broker::Journal::open(std::move(options))));
  }

  void run(std::uint64_t rows) override {
    std::vector<const broker::Held*> batches;
    for (const auto& held : held_) {
      batches.push_back(&held);
    }
    for (std::uint64_t done = 0; done < rows; done += kRowsPerRun) {
      const auto offsets = value_of(journal_->store(batches));
      for (std::size_t i = 0; i < held_.size(); ++i) {
        broker::Window::Settled settled;
        settled.rows = kBatchRows;
        settled.bytes = held_[i].bytes();
        settled.remove = offsets[i];
        journal_->remove(settled);
      }
    }
  }

 private:
  std::vector<broker::Held> held_;
  std::optional<broker::Journal> journal_;
};

class TextLine final : public InnerLoop {
 public:
  TextLine(const std::filesystem::path& csv, const std::filesystem::path& directory)
      : batch_(batches_of(csv).front()),
        connection_(
            value_of(sqlite::Connection::open(directory / "lines.db", sqlite::Access::create))),
        tables_(connection_) {
    check(connection_.execute(kCreateTable));
    check(tables_.refresh());
    const auto* table = value_of(tables_.find(kTable));
    auto lines = store::BatchLines::make(*table, column_names());
    if (!lines) {
      throw Failure("rows of the sample make no lines");
    }
    lines_.emplace(std::move(*lines));
    check(decode_rows(batch_.rows_frame.view(), kBatchRows, rows_));
  }

  void run(std::uint64_t rows) override {
    std::string out;
    for (std::uint64_t done = 0; done < rows; done += kBatchRows) {
      out.clear();
      for (std::size_t i = 0; i < kBatchRows; ++i) {
        if (!lines_->append(rows_.row(i), static_cast<std::int64_t>(i + 1), out)) {
          throw Failure("a row made no line");
        }
      }
      keep(out);
    }
  }

 private:
  Batch batch_;
  sqlite::Connection connection_;
  store::Tables tables_;
  std::optional<store::BatchLines> lines_;
  DecodedRows rows_;
};

template <typename Loop>
NamedLoop named(std::string_view name) {
  return {name, [](const std::filesystem::path& csv, const std::filesystem::path& directory) {
            return std::unique_ptr<InnerLoop>(std::make_unique<Loop>(csv, directory));
          }};
}

}  // namespace

const std::vector<NamedLoop>& inner_loops() {
  static const std::vector<NamedLoop> loops{named<CsvRow>("csv-row"),
                                            named<Encode>("encode"),
                                            named<Decode>("decode"),
                                            named<Apply>("decode-bind-step"),
                                            named<JournalAppend>("journal-append"),
                                            named<TextLine>("text-line")};
  return loops;
}

}  // namespace turnstile::bench
