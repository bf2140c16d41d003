// Splits bytes into CSV records (RFC 4180), in one pass and constant memory.
//
// Why not libcsv: it strips spaces unless told, keeps the BOM, drops blank lines, lets stray quotes
// pass, and gives neither line nor offset of a record, which naming a bad row and reading in
// reverse order both need.
//
// What is taken: LF and CRLF, a BOM, quoted commas, doubled quotes and line breaks, no final line
// end. A CR outside quotes that no LF follows is a fault. A blank line is one empty field: a row of
// a one-column file; a fault in any other, unless it is the last thing in the file.
//
// A quoted field may hold line breaks, so a quote that somebody forgot to close looks like one long
// field. It is taken for forgotten when the file ends in it, when it makes the record too long, or
// when text follows the quote that closes it on a later line. It then costs the line that it stands
// on: reading goes on with the next line.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "producers/csv/bytes.h"
#include "base/result.h"

namespace turnstile::csv {

inline constexpr std::size_t kMaxRecordBytes = std::size_t{4} * 1024 * 1024;
// What SQLite can be built to take at most.
inline constexpr std::size_t kMaxColumns = 32'767;

// Smaller ones than these are for tests, which let every boundary fall everywhere.
struct Limits {
  std::size_t buffer_bytes = std::size_t{256} * 1024;  // at first; grows for a longer record
  std::size_t max_record_bytes = kMaxRecordBytes;      // without the line end
  std::size_t block_bytes = std::size_t{256} * 1024;   // of rows that reverse order holds at once
  // The last line counts only with its line feed: somebody may still be writing it.
  bool line_feed_needed = false;
};

struct Record {
  std::span<const std::string_view> fields;  // valid until the next call
  std::uint64_t line;                        // where it begins, from 1
  std::uint64_t offset;                      // of its first byte in the file
  std::uint64_t number;                      // of the record in the file: the header is 1
};

struct BadRow {
  std::uint64_t line;  // where it begins; for a quote that is not closed, where that quote is
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

  // From now on a record with another number of fields is a bad row. Before: any number is right.
  void expect_columns(std::size_t columns);

  // Forgets what was buffered; `source` gives the bytes from `at` on, where a record begins.
  void restart(const Place& at);

  // The next record, or what is wrong with it (the scanner then goes on after it), or nothing at
  // the end. Error: that of the source; do not go on after it.
  Result<std::optional<Item>> next();

  // Where the next record begins.
  Place place() const { return {.offset = offset_of(cursor_), .line = line_, .number = number_}; }

  // The bytes of the latest record without its line end; empty if it was over the limit. Valid
  // until the next call of next().
  std::string_view raw() const { return raw_; }

  bool waits_for_line_feed() const { return limits_.line_feed_needed; }
  // At the end: the line on which a record begins that is not finished (Limits::line_feed_needed).
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

  // Longer than its capacity: behind the data stands a line feed, which ends every inner loop, so
  // that these need not look for the end; and room for what is read with it, many bytes at once.
  std::vector<char> buffer_;
  std::uint64_t buffer_offset_ = 0;  // of buffer_[0] in the file
  char* end_;                        // of the data
  const char* cursor_;               // scanned up to here
  bool at_end_ = false;              // the source has no more
  std::uint64_t line_ = 1;           // at cursor_
  std::uint64_t number_ = 1;         // of the next record

  // The record in hand; pointers go into buffer_, and make_room() moves them along.
  State state_ = State::field_start;
  Place begin_;
  const char* record_begin_;
  const char* record_end_;
  const char* field_begin_;
  const char* field_end_;
  bool dropped_ = false;  // over the limit: its bytes and fields are not kept
  bool escaped_ = false;  // the field in hand holds doubled quotes
  std::uint64_t quote_line_ = 0;
  bool is_quote_forgotten_ = false;  // text follows the quote that closes it
  std::optional<std::uint64_t> unfinished_line_;
  Fault fault_ = Fault::none;
  std::size_t fault_field_ = 0;  // from 1
  std::size_t field_count_ = 0;  // may be more than fields_ keeps
  std::vector<std::string_view> fields_;
  std::vector<std::string_view> plain_fields_;  // of a record that take_plain() took; columns_ long
  std::vector<std::size_t> escaped_fields_;
  std::string unescaped_;
  std::string_view raw_;
};

}  // namespace turnstile::csv
