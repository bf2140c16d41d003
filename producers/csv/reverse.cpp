#include "producers/csv/reverse.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/descriptor.h"

namespace turnstile::csv {
namespace {

constexpr std::uint64_t kTailBytes = 4096;

// The bytes of a block, plus one arbitrary byte if the file continues: the scanner must see that a
// blank line at the end of the block is not at the end of the file. The file's next byte would not
// do: it may be a quote, which would close a quote that the survey found never closed.
class BlockSource final : public ByteSource {
 public:
  BlockSource(int fd, std::string name) : range_(fd, std::move(name)) {}

  void set_range(std::uint64_t begin, std::uint64_t end, bool goes_on) {
    range_.set_range(begin, end);
    goes_on_ = goes_on;
  }
  Result<std::size_t> read(std::span<char> into) override {
    auto got = range_.read(into);
    if (got && *got == 0 && goes_on_) {
      goes_on_ = false;
      into[0] = ' ';
      return 1;
    }
    return got;
  }

 private:
  RangeSource range_;
  bool goes_on_ = false;
};

class ReverseSource final : public RowSource {
 public:
  ReverseSource(Descriptor file, const FileStamp& stamp, Survey survey, const Limits& limits,
                Facts facts)
      : file_(std::move(file)),
        stamp_(stamp),
        limits_(limits_of(limits)),
        bytes_(survey.bytes),
        rows_total_(survey.rows),
        blocks_(std::move(survey.blocks)),
        blocks_end_(survey.bytes),
        unfinished_line_(survey.unfinished_line),
        range_(file_.get(), facts.name),
        scanner_(range_, limits_) {
    facts_ = std::move(facts);
    scanner_.expect_columns(facts_.columns.size());
  }

  static Result<std::unique_ptr<RowSource>> open(Descriptor file, std::string name,
                                                 const FileStamp& stamp, const Header& header,
                                                 Survey survey, const Limits& limits);

  Result<std::optional<Item>> next() override {
    while (entries_.empty()) {
      if (blocks_.empty()) {
        return std::nullopt;
      }
      if (auto loaded = load_last_block(); !loaded) {
        entries_.clear();
        blocks_.clear();
        return tl::make_unexpected(std::move(loaded.error()));
      }
    }
    const Entry entry = entries_.back();
    entries_.pop_back();
    given_down_to_ = entry.place.offset;
    if (!entry.good) {
      BadRow bad = std::move(bad_rows_.back());
      bad_rows_.pop_back();
      return bad;
    }
    const std::size_t columns = facts_.columns.size();
    fields_left_ -= columns;
    return Record{.fields = std::span(fields_).subspan(fields_left_, columns),
                  .line = entry.place.line,
                  .offset = entry.place.offset,
                  .number = entry.place.number};
  }

  Result<Skipped> skip(std::uint64_t rows) override {
    Skipped skipped;
    while (skipped.rows < rows) {
      // Only if the last row to skip is before this block in the file. Bad rows before that row in
      // the file come after it here, and must not be skipped.
      if (entries_.empty() && !blocks_.empty() && blocks_.back().rows < rows - skipped.rows) {
        skipped.rows += blocks_.back().rows;
        skipped.bad_rows += blocks_.back().bad_rows;
        given_down_to_ = blocks_end_ = blocks_.back().begin.offset;
        blocks_.pop_back();
        continue;
      }
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
    return {
        .bytes_read = bytes_ - given_down_to_, .bytes_total = bytes_, .rows_total = rows_total_};
  }

  std::optional<std::uint64_t> unfinished_line() const override { return unfinished_line_; }

 private:
  // The survey counted only finished records.
  static Limits limits_of(Limits limits) {
    limits.line_feed_needed = false;
    return limits;
  }

  struct Entry {
    Place place;
    bool good;
  };

  Result<void> load_last_block();
  bool add_fields(std::span<const std::string_view> fields);
  Result<bool> unchanged() const;

  Descriptor file_;
  FileStamp stamp_;
  Limits limits_;
  std::uint64_t bytes_;
  std::uint64_t rows_total_;
  std::vector<Block> blocks_;  // not read yet
  std::uint64_t blocks_end_;   // where the last of them ends
  std::optional<std::uint64_t> unfinished_line_;
  std::uint64_t given_down_to_ = bytes_;
  BlockSource range_;
  Scanner scanner_;

  // The current block, in file order; next() takes from the back.
  std::vector<Entry> entries_;
  std::vector<BadRow> bad_rows_;
  std::string text_;  // of all fields; never outgrows its reserve, since fields_ points into it
  std::vector<std::string_view> fields_;
  std::size_t fields_left_ = 0;
};

Result<bool> ReverseSource::unchanged() const {
  const auto now = stamp_of(file_.get(), facts_.name);
  if (!now) {
    return tl::make_unexpected(now.error());
  }
  return *now == stamp_;
}

Result<void> ReverseSource::load_last_block() {
  const Block block = blocks_.back();
  blocks_.pop_back();
  const std::uint64_t end = std::exchange(blocks_end_, block.begin.offset);
  text_.clear();
  text_.reserve(std::min<std::uint64_t>(end - block.begin.offset,
                                        limits_.block_bytes + limits_.max_record_bytes));
  fields_.clear();
  bad_rows_.clear();
  range_.set_range(block.begin.offset, end, end < bytes_ || unfinished_line_.has_value());
  scanner_.restart(block.begin);
  std::uint64_t rows = 0;
  while (scanner_.place().offset < end) {
    const Place place = scanner_.place();
    auto item = scanner_.next();
    if (!item) {
      return tl::make_unexpected(std::move(item.error()));
    }
    if (!*item) {
      break;
    }
    if (const auto* row = std::get_if<Record>(&**item)) {
      if (!add_fields(row->fields)) {
        return fail_changed(facts_.name);
      }
      entries_.push_back({.place = place, .good = true});
      ++rows;
    } else {
      bad_rows_.push_back(std::get<BadRow>(std::move(**item)));
      entries_.push_back({.place = place, .good = false});
    }
  }
  fields_left_ = fields_.size();
  const auto same = unchanged();
  if (!same) {
    return tl::make_unexpected(same.error());
  }
  // The counts are a second check, for changes that the clock is too coarse to show.
  if (!*same || scanner_.place().offset != end || rows != block.rows ||
      bad_rows_.size() != block.bad_rows) {
    return fail_changed(facts_.name);
  }
  return {};
}

bool ReverseSource::add_fields(std::span<const std::string_view> fields) {
  for (const std::string_view field : fields) {
    if (field.size() > text_.capacity() - text_.size()) {
      return false;
    }
    const std::size_t begin = text_.size();
    text_.append(field);
    fields_.emplace_back(text_.data() + begin, field.size());
  }
  return true;
}

Result<std::unique_ptr<RowSource>> ReverseSource::open(Descriptor file, std::string name,
                                                       const FileStamp& stamp, const Header& header,
                                                       Survey survey, const Limits& limits) {
  // A file that grew or changed at its end returns other rows first.
  std::string tail = fmt::format("{}\n", survey.bytes);
  RangeSource end_of_file(file.get(), name);
  end_of_file.set_range(survey.bytes - std::min(survey.bytes, kTailBytes), survey.bytes);
  std::string piece(kTailBytes, '\0');
  for (;;) {
    const auto got = end_of_file.read(piece);
    if (!got) {
      return tl::make_unexpected(got.error());
    }
    if (*got == 0) {
      break;
    }
    tail.append(piece, 0, *got);
  }
  Facts facts{.name = std::move(name),
              .columns = header.columns,
              .types = std::move(survey.types),
              .fingerprint = fingerprint_of(header.raw, survey.first_row, tail)};
  return std::make_unique<ReverseSource>(std::move(file), stamp, std::move(survey), limits,
                                         std::move(facts));
}

}  // namespace

Result<std::unique_ptr<RowSource>> open_reverse(Descriptor file, std::string name,
                                                const FileStamp& stamp, const Header& header,
                                                Survey survey, const Limits& limits) {
  return ReverseSource::open(std::move(file), std::move(name), stamp, header, std::move(survey),
                             limits);
}

}  // namespace turnstile::csv
