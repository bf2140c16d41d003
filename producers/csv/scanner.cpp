#include "producers/csv/scanner.h"

#include <algorithm>
#include <array>
#include <cstring>

#include <fmt/format.h>

#include "base/counted.h"
#include "base/utf8.h"

#ifdef __SSE2__
#include <emmintrin.h>

#include <bit>
#endif

namespace turnstile::csv {
namespace {

constexpr std::size_t kBlockBytes = 16;  // of one SIMD read
constexpr std::size_t kBehindData = kBlockBytes;

// A quote that is open at the end of the file may belong to a field that is still being written. In
// a longer field, the quote counts as never closed.
constexpr std::uint64_t kUnfinishedLines = 16;
constexpr std::size_t kUnfinishedBytes = std::size_t{64} * 1024;

constexpr std::string_view kBom = "\xEF\xBB\xBF";

constexpr std::array<bool, 256> kEndsPlainText = [] {
  std::array<bool, 256> table{};
  table[','] = table['"'] = table['\r'] = table['\n'] = true;
  return table;
}();

bool ends_plain_text(char c) {
  return kEndsPlainText[static_cast<unsigned char>(c)];
}

// No byte is NUL or above 0x7F. Eight bytes at a time: nearly every row needs no other check.
bool is_plain_ascii(std::string_view text) {
  constexpr std::uint64_t kHighBits = 0x8080808080808080;
  constexpr std::uint64_t kOnes = 0x0101010101010101;
  std::uint64_t suspects = 0;
  while (text.size() >= sizeof(std::uint64_t)) {
    std::uint64_t word = 0;
    std::memcpy(&word, text.data(), sizeof word);
    suspects |= word | (word - kOnes);
    text.remove_prefix(sizeof word);
  }
  if ((suspects & kHighBits) != 0) {
    return false;
  }
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<signed char>(c) > 0; });
}

#ifdef __SSE2__
// One bit for each of the 16 bytes at `p`: set for a comma, a quote, a control character, or a byte
// above 0x7F.
std::uint32_t ends_plain_text_in_block(const char* p) {
  const __m128i block = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  const __m128i ends = _mm_or_si128(_mm_cmplt_epi8(block, _mm_set1_epi8(' ')),
                                    _mm_or_si128(_mm_cmpeq_epi8(block, _mm_set1_epi8(',')),
                                                 _mm_cmpeq_epi8(block, _mm_set1_epi8('"'))));
  return static_cast<std::uint32_t>(_mm_movemask_epi8(ends));
}
#endif

std::uint64_t count_line_feeds(const char* begin, const char* end) {
  return static_cast<std::uint64_t>(std::count(begin, end, '\n'));
}

}  // namespace

Scanner::Scanner(ByteSource& source, const Limits& limits)
    : source_(source), limits_(limits), buffer_(limits.buffer_bytes + kBehindData) {
  restart(Place{});
}

void Scanner::expect_columns(std::size_t columns) {
  columns_ = columns;
  fields_kept_ = columns;
  plain_fields_.resize(columns);
}

void Scanner::restart(const Place& at) {
  buffer_offset_ = at.offset;
  line_ = at.line;
  number_ = at.number;
  end_ = buffer_.data();
  *end_ = '\n';
  cursor_ = end_;
  at_end_ = false;
  begin_record();
}

Result<std::optional<Item>> Scanner::next() {
  if (offset_of(cursor_) == 0) {
    if (auto skipped = skip_bom(); !skipped) {
      return tl::make_unexpected(std::move(skipped.error()));
    }
  }
  if (auto plain = take_plain()) {
    return *plain;
  }
  begin_record();
  while (!scan()) {
    if (at_end_) {
      return finish_at_end();
    }
    if (auto filled = fill(); !filled) {
      return tl::make_unexpected(std::move(filled.error()));
    }
  }
  if (is_quote_forgotten_) {
    return give_up_quote(line_feed_after_quote());
  }
  return finish();
}

Result<void> Scanner::skip_bom() {
  const auto have = [this] {
    return std::string_view(cursor_, static_cast<std::size_t>(end_ - cursor_));
  };
  while (!at_end_ && have().size() < kBom.size() && kBom.substr(0, have().size()) == have()) {
    if (auto filled = fill(); !filled) {
      return tl::make_unexpected(std::move(filled.error()));
    }
  }
  if (have().substr(0, kBom.size()) == kBom) {
    cursor_ += kBom.size();
  }
  return {};
}

// The next record, if it is complete in the buffer and of the common form: the expected number of
// fields, plain ASCII, LF at the end, quotes only around whole fields. Otherwise nothing, and
// nothing is changed.
std::optional<Record> Scanner::take_plain() {
#ifdef __SSE2__
  const char* field = cursor_;
  const char* closing_quote = nullptr;  // the current field must end directly after it
  bool is_quoted = false;
  std::size_t fields = 0;
  // Ends at the latest at the line feed after the data.
  for (const char* block = cursor_;; block += kBlockBytes) {
    for (std::uint32_t ends = ends_plain_text_in_block(block); ends != 0; ends &= ends - 1) {
      const char* end = block + std::countr_zero(ends);
      if (is_quoted) {
        if (*end == '"') {
          is_quoted = false;
          closing_quote = end;
        } else if (*end != ',') {
          return std::nullopt;
        }
        continue;
      }
      if (*end == '"' && end == field && closing_quote == nullptr) {
        is_quoted = true;
        ++field;
        continue;
      }
      const bool is_last = fields + 1 == columns_;
      if (fields == columns_ || *end != (is_last ? '\n' : ',') ||
          (closing_quote != nullptr && closing_quote + 1 != end)) {
        return std::nullopt;
      }
      const char* text_end = closing_quote != nullptr ? closing_quote : end;
      plain_fields_[fields++] = {field, static_cast<std::size_t>(text_end - field)};
      field = end + 1;
      closing_quote = nullptr;
      if (!is_last) {
        continue;
      }
      const auto length = static_cast<std::size_t>(end - cursor_);
      if (end == end_ || length > limits_.max_record_bytes) {
        return std::nullopt;
      }
      const Place begin = place();
      raw_ = {cursor_, length};
      cursor_ = field;
      ++line_;
      ++number_;
      return Record{.fields = plain_fields_,
                    .line = begin.line,
                    .offset = begin.offset,
                    .number = begin.number};
    }
  }
#else
  return std::nullopt;
#endif
}

void Scanner::begin_record() {
  state_ = State::field_start;
  begin_ = place();
  forget_bytes();
  dropped_ = escaped_ = is_quote_forgotten_ = false;
  unfinished_line_.reset();
  fault_ = Fault::none;
  field_count_ = 0;
}

void Scanner::forget_bytes() {
  record_begin_ = record_end_ = field_begin_ = field_end_ = cursor_;
  fields_.clear();
  escaped_fields_.clear();
  raw_ = {};
}

// Scans to the end of the current record, and returns true. False: the data ended first; the next
// call continues there.
bool Scanner::scan() {
  const char* p = cursor_;
  for (;;) {
    switch (state_) {
      case State::field_start:
        if (p == end_) {
          return suspend(p);
        }
        if (*p == '"') {
          field_begin_ = ++p;
          quote_line_ = line_;
          state_ = State::quoted;
          break;
        }
        field_begin_ = p;
        state_ = State::unquoted;
        [[fallthrough]];

      case State::unquoted:
        while (!ends_plain_text(*p)) {
          ++p;
        }
        if (p == end_) {
          return suspend(p);
        }
        if (*p == ',') {
          add_field(field_begin_, p++);
          state_ = State::field_start;
        } else if (*p == '\n') {
          add_field(field_begin_, p);
          return end_record(p, p + 1);
        } else if (*p == '\r') {
          field_end_ = p++;
          state_ = State::cr_seen;
        } else {
          note(Fault::stray_quote);
          ++p;
        }
        break;

      case State::quoted: {
        const auto* quote =
            static_cast<const char*>(std::memchr(p, '"', static_cast<std::size_t>(end_ - p)));
        if (is_beyond_limit(quote != nullptr ? quote + 1 : end_) &&
            line_feed_after_quote() != nullptr) {
          is_quote_forgotten_ = true;
          return true;
        }
        line_ += count_line_feeds(p, quote != nullptr ? quote : end_);
        if (quote == nullptr) {
          return suspend(end_);
        }
        field_end_ = quote;
        p = quote + 1;
        state_ = State::quote_seen;
        break;
      }

      case State::quote_seen:
        if (p == end_) {
          return suspend(p);
        }
        if (*p == ',') {
          add_field(field_begin_, field_end_);
          ++p;
          state_ = State::field_start;
        } else if (*p == '\n') {
          add_field(field_begin_, field_end_);
          return end_record(p, p + 1);
        } else if (*p == '"') {
          escaped_ = true;
          ++p;
          state_ = State::quoted;
        } else if (*p == '\r') {
          // The field ended at its quote. The next byte tells whether the row ends here.
          ++p;
          state_ = State::cr_seen;
        } else if (line_ > quote_line_ && !dropped_ && !is_beyond_limit(p)) {
          is_quote_forgotten_ = true;
          return true;
        } else {
          note(Fault::text_after_quote);
          state_ = State::unquoted;
        }
        break;

      case State::cr_seen:
        if (p == end_) {
          return suspend(p);
        }
        if (*p == '\n') {
          add_field(field_begin_, field_end_);
          return end_record(dropped_ ? p : p - 1, p + 1);
        }
        note(Fault::lone_cr);
        state_ = State::unquoted;
        break;
    }
  }
}

bool Scanner::suspend(const char* p) {
  cursor_ = p;
  return false;
}

bool Scanner::end_record(const char* text_end, const char* next) {
  record_end_ = text_end;
  cursor_ = next;
  ++line_;
  return true;
}

inline void Scanner::add_field(const char* begin, const char* end) {
  if (fields_.size() < fields_kept_ && !dropped_) {
    fields_.emplace_back(begin, static_cast<std::size_t>(end - begin));
    if (escaped_) {
      escaped_fields_.push_back(field_count_);
    }
  }
  escaped_ = false;
  ++field_count_;
}

void Scanner::note(Fault fault) {
  if (fault_ == Fault::none) {
    fault_ = fault;
    fault_field_ = field_count_ + 1;
  }
}

Result<void> Scanner::fill() {
  if (end_ == buffer_.data() + buffer_.size() - kBehindData) {
    make_room();
  }
  const auto room = static_cast<std::size_t>(buffer_.data() + buffer_.size() - kBehindData - end_);
  const auto got = source_.read({end_, room});
  if (!got) {
    return tl::make_unexpected(got.error());
  }
  at_end_ = *got == 0;
  end_ += *got;
  *end_ = '\n';
  return {};
}

// Moves the current record to the front. Grows the buffer if that record fills it, and drops the
// record's bytes if they are over the limit.
void Scanner::make_room() {
  const std::size_t longest = longest_record();
  if (dropped_ || static_cast<std::size_t>(end_ - record_begin_) > longest) {
    dropped_ = true;
    forget_bytes();
  }
  const char* const from = record_begin_;
  const auto kept = static_cast<std::size_t>(end_ - from);
  const std::uint64_t kept_offset = offset_of(from);
  std::vector<char> longer;
  if (kept + kBehindData == buffer_.size()) {
    longer.resize(std::min(2 * kept, longest + 1) + kBehindData);
  }
  char* const to = longer.empty() ? buffer_.data() : longer.data();
  std::memmove(to, from, kept);
  const auto moved = [from, to](const char* p) { return to + (p - from); };
  for (std::string_view& field : fields_) {
    field = {moved(field.data()), field.size()};
  }
  cursor_ = moved(cursor_);
  field_begin_ = moved(field_begin_);
  field_end_ = moved(field_end_);
  record_begin_ = record_end_ = to;
  end_ = to + kept;
  if (!longer.empty()) {
    buffer_.swap(longer);
  }
  buffer_offset_ = kept_offset;
}

Result<std::optional<Item>> Scanner::finish() {
  const bool blank = !dropped_ && record_begin_ == record_end_;
  if (blank && columns_ > 1) {
    forget_bytes();
    if (cursor_ == end_ && !at_end_) {
      if (auto filled = fill(); !filled) {
        return tl::make_unexpected(std::move(filled.error()));
      }
    }
    if (cursor_ == end_) {
      return std::nullopt;
    }
    note(Fault::blank_line);
  }
  return judge();
}

// The bytes so far begin a record whose end may still come.
bool Scanner::may_be_unfinished() const {
  const bool is_empty = state_ == State::field_start && field_count_ == 0;
  if (!limits_.line_feed_needed || is_empty || dropped_) {
    return false;
  }
  return state_ != State::quoted ||
         (line_ - quote_line_ <= kUnfinishedLines &&
          static_cast<std::size_t>(cursor_ - field_begin_) <= kUnfinishedBytes);
}

// Decisions use this limit, which the buffer can always hold, so that they do not depend on the
// buffer's size.
bool Scanner::is_beyond_limit(const char* p) const {
  return !dropped_ && static_cast<std::size_t>(p - record_begin_) > longest_record();
}

// The end of the line on which the current quoted field begins; nullptr: beyond the limit.
const char* Scanner::line_feed_after_quote() const {
  const auto have = static_cast<std::size_t>(end_ - record_begin_);
  const char* const limit = record_begin_ + std::min(have, longest_record());
  return dropped_ || field_begin_ >= limit
             ? nullptr
             : static_cast<const char*>(
                   std::memchr(field_begin_, '\n', static_cast<std::size_t>(limit - field_begin_)));
}

// The line with the quote becomes a bad row, and the next record begins on the next line.
Item Scanner::give_up_quote(const char* line_feed) {
  record_end_ = line_feed;
  cursor_ = line_feed + 1;
  line_ = quote_line_ + 1;
  ++number_;
  keep_raw();
  return BadRow{quote_line_, "a quote opened here is never closed"};
}

Result<std::optional<Item>> Scanner::finish_at_end() {
  if (may_be_unfinished()) {
    unfinished_line_ = begin_.line;
    cursor_ = record_begin_;
    line_ = begin_.line;
    forget_bytes();
    return std::nullopt;
  }
  record_end_ = cursor_;
  switch (state_) {
    case State::field_start:
      if (field_count_ == 0) {
        return std::nullopt;
      }
      add_field(cursor_, cursor_);
      break;
    case State::unquoted:
      add_field(field_begin_, cursor_);
      break;
    case State::quoted:
      if (const char* line_feed = line_feed_after_quote(); line_feed != nullptr) {
        return give_up_quote(line_feed);
      }
      ++number_;
      keep_raw();
      return BadRow{quote_line_, "a quote opened here is never closed"};
    case State::quote_seen:
      add_field(field_begin_, field_end_);
      break;
    case State::cr_seen:
      note(Fault::lone_cr);
      break;
  }
  return judge();
}

// False if the record is over the limit.
bool Scanner::keep_raw() {
  const auto length = static_cast<std::size_t>(record_end_ - record_begin_);
  if (dropped_ || length > limits_.max_record_bytes) {
    return false;
  }
  raw_ = {record_begin_, length};
  return true;
}

Item Scanner::judge() {
  ++number_;
  if (!keep_raw()) {
    fault_ = Fault::too_long;
  }
  if (fault_ != Fault::none) {
    return BadRow{begin_.line, reason()};
  }
  if (columns_ != 0 && field_count_ != columns_) {
    return BadRow{begin_.line, fmt::format("{} field{}, the header has {}", field_count_,
                                           field_count_ == 1 ? "" : "s", columns_)};
  }
  if (!escaped_fields_.empty()) {
    unescape_fields();
  }
  if (!is_plain_ascii(raw_)) {
    for (std::size_t i = 0; i < fields_.size(); ++i) {
      if (fields_[i].find('\0') != std::string_view::npos) {
        return BadRow{begin_.line, fmt::format("a NUL byte in field {}", i + 1)};
      }
      if (!is_utf8(fields_[i])) {
        return BadRow{begin_.line, fmt::format("field {} is not valid UTF-8", i + 1)};
      }
    }
  }
  return Record{
      .fields = fields_, .line = begin_.line, .offset = begin_.offset, .number = begin_.number};
}

void Scanner::unescape_fields() {
  // Reserve all of it now: the fields point into it.
  unescaped_.clear();
  unescaped_.reserve(raw_.size());
  for (const std::size_t i : escaped_fields_) {
    const std::size_t begin = unescaped_.size();
    std::string_view rest = fields_[i];
    while (!rest.empty()) {
      const std::size_t quote = rest.find('"');
      if (quote == std::string_view::npos) {
        unescaped_.append(rest);
        break;
      }
      unescaped_.append(rest.substr(0, quote + 1));
      rest.remove_prefix(quote + 2);
    }
    fields_[i] = {unescaped_.data() + begin, unescaped_.size() - begin};
  }
}

std::string Scanner::reason() const {
  switch (fault_) {
    case Fault::stray_quote:
      return fmt::format("a quote inside field {}, which does not begin with one", fault_field_);
    case Fault::text_after_quote:
      return fmt::format("text after the closing quote of field {}", fault_field_);
    case Fault::lone_cr:
      return "a carriage return without a line feed outside quotes";
    case Fault::too_long:
      return "longer than " + counted(limits_.max_record_bytes, "byte");
    case Fault::blank_line:
      return "a blank line, the header has " + counted(columns_, "field");
    case Fault::none:
      break;
  }
  return {};
}

}  // namespace turnstile::csv
