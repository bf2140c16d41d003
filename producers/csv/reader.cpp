#include "producers/csv/reader.h"

#include <fcntl.h>

#include <utility>

#include "base/descriptor.h"
#include "producers/csv/bytes.h"
#include "producers/csv/reverse.h"
#include "producers/csv/survey.h"

namespace turnstile::csv {
namespace {

class FileOrderSource final : public RowSource {
 public:
  // `kept`: the file that `bytes` reads, if it can be read again.
  FileOrderSource(std::string name, std::unique_ptr<ByteSource> bytes, Descriptor kept,
                  const CsvOptions& options, Progress progress)
      : kept_(std::move(kept)),
        bytes_(std::move(bytes)),
        marked_(options.keeps_mark ? mark_of(bytes_) : nullptr),
        scanner_(*bytes_, options.limits),
        progress_(progress) {
    facts_.name = std::move(name);
  }

  // False: there is no finished header.
  Result<bool> start(std::vector<ColumnType> types) {
    auto found = read_header(scanner_, facts_.name);
    if (!found) {
      return tl::make_unexpected(std::move(found.error()));
    }
    auto& header = *found;
    if (!header) {
      return false;
    }
    facts_.columns = std::move(header->columns);
    if (!types.empty() && types.size() != facts_.columns.size()) {
      return fail_changed(facts_.name);
    }
    facts_.types = std::move(types);
    read_ = scanner_.place().offset;
    auto first = scanner_.next();
    if (!first) {
      return tl::make_unexpected(std::move(first.error()));
    }
    facts_.fingerprint = fingerprint_of(header->raw, scanner_.raw());
    first_ = std::move(*first);
    return true;
  }

  Result<std::optional<Item>> next() override {
    if (first_) {
      read_ = scanner_.place().offset;
      return std::exchange(first_, std::nullopt);
    }
    auto item = scanner_.next();
    read_ = scanner_.place().offset;
    if (marked_ != nullptr && read_ - marked_->marked() > kUnmarkedBytes) {
      marked_->mark_at(read_);
    }
    return item;
  }

  std::optional<Mark> mark() override {
    return marked_ == nullptr ? std::nullopt : std::optional(marked_->mark_at(read_));
  }

  Result<std::optional<bool>> begins_as(const Mark& mark) override {
    if (kept_.get() < 0) {
      return std::optional<bool>();
    }
    return begins_with(kept_.get(), facts_.name, mark).map([](bool same) {
      return std::optional(same);
    });
  }

  Result<Skipped> skip(std::uint64_t rows) override {
    Skipped skipped;
    while (skipped.rows < rows) {
      const auto item = next();
      if (!item) {
        return tl::make_unexpected(item.error());
      }
      if (!*item) {
        break;
      }
      ++(std::holds_alternative<Record>(**item) ? skipped.rows : skipped.bad_rows);
    }
    return skipped;
  }

  Progress progress() const override {
    Progress now = progress_;
    now.bytes_read = read_;
    return now;
  }

  std::optional<std::uint64_t> unfinished_line() const override {
    return scanner_.unfinished_line();
  }

 private:
  // Kept in memory at most, while no caller asks for the mark.
  static constexpr std::uint64_t kUnmarkedBytes = std::uint64_t{1024} * 1024;

  static MarkedSource* mark_of(std::unique_ptr<ByteSource>& bytes) {
    auto marked = std::make_unique<MarkedSource>(std::move(bytes));
    auto* const it = marked.get();
    bytes = std::move(marked);
    return it;
  }

  Descriptor kept_;
  std::unique_ptr<ByteSource> bytes_;
  MarkedSource* marked_;  // bytes_, if it is a MarkedSource
  Scanner scanner_;
  Progress progress_;
  std::uint64_t read_ = 0;
  std::optional<Item> first_;  // read for the fingerprint
};

Result<std::unique_ptr<RowSource>> start(std::unique_ptr<FileOrderSource> source,
                                         std::vector<ColumnType> types) {
  auto started = source->start(std::move(types));
  if (!started) {
    return tl::make_unexpected(std::move(started.error()));
  }
  if (!*started) {
    source.reset();
  }
  return source;
}

Result<std::unique_ptr<RowSource>> open_once(Input input, const CsvOptions& options) {
  Progress progress;
  if (input.stamp.size_bytes > 0) {
    progress.bytes_total = static_cast<std::uint64_t>(input.stamp.size_bytes);
  }
  Descriptor kept(
      options.keeps_mark && input.read_twice ? ::fcntl(input.file.get(), F_DUPFD_CLOEXEC, 0) : -1);
  auto bytes =
      std::make_unique<StreamSource>(std::move(input.file), input.name, options.wait_for_input);
  return start(std::make_unique<FileOrderSource>(std::move(input.name), std::move(bytes),
                                                 std::move(kept), options, progress),
               {});
}

Result<std::unique_ptr<RowSource>> open_twice(Input input, const CsvOptions& options) {
  Descriptor kept;
  std::unique_ptr<ByteSource> first_pass;
  if (input.read_twice) {
    kept = std::move(input.file);
    first_pass = std::make_unique<RangeSource>(kept.get(), input.name);
  } else {
    auto spool = make_spool();
    if (!spool) {
      return tl::make_unexpected(std::move(spool.error()));
    }
    kept = std::move(*spool);
    first_pass = std::make_unique<SpoolingSource>(std::move(input.file), input.name, kept.get(),
                                                  options.wait_for_input);
  }
  Scanner scanner(*first_pass, options.limits);
  auto found = read_header(scanner, input.name);
  if (!found) {
    return tl::make_unexpected(std::move(found.error()));
  }
  auto& header = *found;
  if (!header) {
    return std::unique_ptr<RowSource>();
  }
  std::optional<TypeInference> inference;
  if (options.infer_types) {
    inference.emplace(header->columns.size());
  }
  auto seen = survey(scanner, options.limits, std::move(inference));
  if (!seen) {
    return tl::make_unexpected(std::move(seen.error()));
  }
  if (options.order == Order::reverse) {
    if (!input.read_twice) {
      // No other process can reach the copy; from here on it must not change.
      auto stamp = stamp_of(kept.get(), input.name);
      if (!stamp) {
        return tl::make_unexpected(std::move(stamp.error()));
      }
      input.stamp = *stamp;
    }
    return open_reverse(std::move(kept), std::move(input.name), input.stamp, *header,
                        std::move(*seen), options.limits);
  }
  auto second_pass = std::make_unique<RangeSource>(kept.get(), input.name);
  return start(std::make_unique<FileOrderSource>(
                   std::move(input.name), std::move(second_pass), std::move(kept), options,
                   Progress{.bytes_total = seen->bytes, .rows_total = seen->rows}),
               std::move(seen->types));
}

}  // namespace

Result<std::unique_ptr<RowSource>> open_csv(const CsvOptions& options) {
  auto input = open_input(options.path);
  if (!input) {
    return tl::make_unexpected(std::move(input.error()));
  }
  if (options.order == Order::file && !options.infer_types) {
    return open_once(std::move(*input), options);
  }
  return open_twice(std::move(*input), options);
}

}  // namespace turnstile::csv
