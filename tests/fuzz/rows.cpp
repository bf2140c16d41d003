// The rows frame (proto/rows.h), and the bytes of single rows that dead letters keep.
#include "proto/rows.h"

#include <bit>

#include "base/utf8.h"
#include "proto/limits.h"
#include "store/row_bytes.h"
#include "tests/fuzz/fuzz.h"

namespace turnstile::fuzz {
namespace {

bool same(const ValueRef& a, const ValueRef& b) {
  if (a.index() != b.index()) {
    return false;
  }
  if (const auto* text = std::get_if<std::string_view>(&a)) {
    return *text == std::get<std::string_view>(b);
  }
  if (const auto* blob = std::get_if<Blob>(&a)) {
    return blob->bytes == std::get<Blob>(b).bytes;
  }
  if (const auto* real = std::get_if<double>(&a)) {
    return std::bit_cast<std::uint64_t>(*real) == std::bit_cast<std::uint64_t>(std::get<double>(b));
  }
  if (const auto* integer = std::get_if<std::int64_t>(&a)) {
    return *integer == std::get<std::int64_t>(b);
  }
  return true;
}

bool same(std::span<const ValueRef> a, std::span<const ValueRef> b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const ValueRef& x, const ValueRef& y) { return same(x, y); });
}

void expect_bytes_within(std::string_view frame, const ValueRef& value) {
  const auto* text = std::get_if<std::string_view>(&value);
  const auto* blob = std::get_if<Blob>(&value);
  const std::string_view bytes = text != nullptr ? *text : blob != nullptr ? blob->bytes : frame;
  expect(bytes.empty() || (bytes.data() >= frame.data() &&
                           bytes.data() + bytes.size() <= frame.data() + frame.size()),
         "a value refers into its frame");
}

std::string frame_of_one(std::string_view row) {
  return std::string("\xDD\0\0\0\1", 5) + std::string(row);
}

}  // namespace

void run_one(std::string_view input) {
  Input in(input);
  const auto wanted = static_cast<std::uint32_t>(in.below(256));
  const std::string_view frame = in.rest();
  DecodedRows rows;
  const auto decoded = decode_rows(frame, wanted, rows);
  if (!decoded) {
    expect(decoded.error().code == Errc::corrupt && !decoded.error().what.empty(),
           "a frame that cannot be read is corrupt, and the error says why");
    return;
  }
  expect(rows.rows() == wanted, "as many rows as the header said");
  RowsEncoder encoder;
  store::RowBytes bytes(frame);
  for (std::size_t i = 0; i < rows.rows(); ++i) {
    const auto row = rows.row(i);
    for (const ValueRef& value : row) {
      expect_bytes_within(frame, value);
      const auto* text = std::get_if<std::string_view>(&value);
      expect(text == nullptr || is_text(*text) || !rows.defect(i).empty(),
             "text that SQLite cannot keep is a defect of its row");
    }
    encoder.add(row);

    const std::string_view own = bytes.row(i);
    DecodedRows alone;
    expect(decode_rows(frame_of_one(own), 1, alone).has_value(), "a row's bytes are a row");
    const std::string kept = frame_of_one(own);
    expect(
        decode_rows(kept, 1, alone) && same(alone.row(0), row) && alone.defect(0) == rows.defect(i),
        "a row's bytes alone say the same");
    if (!row.empty()) {
      const std::string shorter = frame_of_one(store::without_first(own));
      expect(decode_rows(shorter, 1, alone) && same(alone.row(0), row.subspan(1)),
             "without its first value a row has the others");
    }
  }
  const Bytes again = encoder.take();
  DecodedRows twice;
  if (again.size() > limits::kRowsBytes) {
    return;
  }
  expect(decode_rows(again.view(), wanted, twice).has_value(), "encoded rows can be decoded");
  for (std::size_t i = 0; i < rows.rows(); ++i) {
    // An integer above what SQLite keeps has no value of its own to encode.
    expect(same(twice.row(i), rows.row(i)), "and are the same rows");
  }
}

std::vector<std::string> seeds() {
  using Row = std::vector<ValueRef>;
  std::vector<std::string> out;
  const auto add = [&](const std::vector<Row>& rows) {
    RowsEncoder encoder;
    for (const Row& row : rows) {
      encoder.add(std::span<const ValueRef>(row));
    }
    out.push_back(static_cast<char>(rows.size()) + std::string(encoder.take().view()));
  };
  const std::string long_text(300, 'x');
  add({});
  add({{}});
  add({{Null{}, std::int64_t{0}, std::int64_t{-1}, 1.5, std::string_view("Protein"),
        Blob{std::string_view("\0\xFF", 2)}}});
  add({{INT64_MIN, INT64_MAX, std::int64_t{127}, std::int64_t{-32}},
       {std::int64_t{128}, std::int64_t{65536}, std::int64_t{1} << 40}});
  add({{std::string_view(long_text), Blob{long_text}}, {std::string_view("\xC3\xA9")}});
  add({{std::string_view("\xFF")}, {std::string_view("a\0b", 3)}, {std::string_view("good")}});
  add(std::vector<Row>(20, Row(17, std::int64_t{1})));
  out.push_back(std::string("\1\x91\x91\xCF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 12));
  out.push_back(std::string("\2\x92\x91\xCA\x3F\xC0\0\0\x91\xC3", 10));
  out.push_back("\1\x91\x91\x91\x91\x80");
  return out;
}

}  // namespace turnstile::fuzz
