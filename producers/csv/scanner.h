// Splits bytes into CSV records (RFC 4180), in one pass and constant memory.
//
// Why not libcsv: it strips spaces by default, keeps the BOM, drops blank lines, accepts stray
// quotes, and reports neither line nor offset of a record. Reporting a bad row and reading in
// reverse order need both.
//
// Accepted: LF and CRLF, a BOM, quoted commas, doubled quotes and line breaks, and a missing final
// line end. A CR outside quotes without a following LF is a fault. A blank line is one empty field:
// a row of a one-column file, and a fault in any other file unless it is the last line.
//
// A quoted field may hold line breaks, so a quote that was never closed looks like one long field.
// A quote counts as never closed when the file ends inside the field, when the field makes the
// record too long, or when text follows its closing quote on a later line. It then costs the line
// with the opening quote: reading continues on the next line.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "producers/csv/bytes.h"

namespace turnstile::csv {

inline constexpr std::size_t kMaxRecordBytes = std::size_t{4} * 1024 * 1024;
// The largest limit that SQLite can be built with.
inline constexpr std::size_t kMaxColumns = 32'767;

// Tests use smaller limits, so that every boundary is reached.
struct Limits {
  std::size_t buffer_bytes = std::size_t{256} * 1024;  // at first; grows for a longer record
  std::size_t max_record_bytes = kMaxRecordBytes;      // without the line end
  std::size_t block_bytes = std::size_t{256} * 1024;   // of rows that reverse order reads together
  // The last line counts only with its line feed: its writer may not have finished it.
  bool line_feed_needed = false;
};

struct Record {
  std::span<const std::string_view> fields;  // valid until the next call
  std::uint64_t line;                        // where it begins, from 1
  std::uint64_t offset;                      // of its first byte in the file
  std::uint64_t number;                      // of the record in the file: the header is 1
};

struct BadRow {
  std::uint64_t line;  // where it begins; for a quote that is never closed, the line of the quote
  std::string reason;  // such as "5 fields, the header has 6"
};

using Item = std::variant<Record, BadRow>;

// Where a record begins.
struct Place {
  std::uint64_t offset = 0;
  std::uint64_t line = 1;
  std::uint64_t number = 1;
};

class Scanner {
 public:
  // Keeps a reference to `source`.
  Scanner(ByteSource& source, const Limits& limits);
  Scanner(const Scanner&) = delete;
  Scanner& operator=(const Scanner&) = delete;
  ~Scanner() = default;

  // From now on a record with another number of fields is a bad row. Until then any number is fine.
  void expect_columns(std::size_t columns);

  // Discards the buffer. `source` continues with the bytes from `at`, where a record begins.
  void restart(const Place& at);

  // The next record, or its fault (the scanner then continues after it), or nothing at the end.
  // Error: that of the source; do not call next() again.
  Result<std::optional<Item>> next();

  // Where the next record begins.
  Place place() const { return {.offset = offset_of(cursor_), .line = line_, .number = number_}; }

  // The bytes of the latest record without its line end; empty if it was over the limit. Valid
  // until the next call of next().
  std::string_view raw() const { return raw_; }

  bool waits_for_line_feed() const { return limits_.line_feed_needed; }
  // At the end: the line of an unfinished last record (Limits::line_feed_needed).
  std::optional<std::uint64_t> unfinished_line() const { return unfinished_line_; }

 private:
  enum class State { field_start, unquoted, quoted, quote_seen, cr_seen };
  enum class Fault { none, stray_quote, text_after_quote, lone_cr, too_long, blank_line };

  std::uint64_t offset_of(const char* p) const {
    return buffer_offset_ + static_cast<std::uint64_t>(p - buffer_.data());
  }
  Result<void> skip_bom();
  std::optional<Record> take_plain();
  void begin_record();
  void forget_bytes();
  bool scan();
  bool suspend(const char* p);
  bool end_record(const char* text_end, const char* next);
  void add_field(const char* begin, const char* end);
  void note(Fault fault);
  Result<void> fill();
  void make_room();
  Result<std::optional<Item>> finish();
  Result<std::optional<Item>> finish_at_end();
  bool may_be_unfinished() const;
  bool is_beyond_limit(const char* p) const;
  const char* line_feed_after_quote() const;
  Item give_up_quote(const char* line_feed);
  std::size_t longest_record() const { return limits_.max_record_bytes + 2; }  // with its CRLF
  bool keep_raw();
  Item judge();
  void unescape_fields();
  std::string reason() const;

  ByteSource& source_;
  Limits limits_;
  std::size_t columns_ = 0;  // 0: not known yet
  std::size_t fields_kept_ = kMaxColumns + 1;

  // Longer than its capacity. A line feed after the data ends every inner loop, so these need not
  // check for the end of the data; the rest is room for reads of a whole block.
  std::vector<char> buffer_;
  std::uint64_t buffer_offset_ = 0;  // of buffer_[0] in the file
  char* end_;                        // of the data
  const char* cursor_;               // scanned up to here
  bool at_end_ = false;              // the source has no more
  std::uint64_t line_ = 1;           // at cursor_
  std::uint64_t number_ = 1;         // of the next record

  // The current record. Its pointers go into buffer_, and make_room() moves them.
  State state_ = State::field_start;
  Place begin_;
  const char* record_begin_;
  const char* record_end_;
  const char* field_begin_;
  const char* field_end_;
  bool dropped_ = false;  // over the limit: its bytes and fields are not kept
  bool escaped_ = false;  // the current field holds doubled quotes
  std::uint64_t quote_line_ = 0;
  bool is_quote_forgotten_ = false;  // text follows its closing quote
  std::optional<std::uint64_t> unfinished_line_;
  Fault fault_ = Fault::none;
  std::size_t fault_field_ = 0;  // from 1
  std::size_t field_count_ = 0;  // may be more than fields_ keeps
  std::vector<std::string_view> fields_;
  std::vector<std::string_view> plain_fields_;  // of a record from take_plain(); columns_ long
  std::vector<std::size_t> escaped_fields_;
  std::string unescaped_;
  std::string_view raw_;
};

}  // namespace turnstile::csv
