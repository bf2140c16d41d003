// CSV, whatever its bytes (producers/csv/reader.h): both orders give the same rows and faults, the
// sizes of buffers and blocks change nothing, skipping is reading, and good rows written again are
// the same rows.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <optional>

#include "base/descriptor.h"
#include "producers/csv/reader.h"
#include "tests/fuzz/fuzz.h"

namespace turnstile::fuzz {
namespace {

using csv::CsvOptions;
using csv::Limits;
using csv::Order;

constexpr std::size_t kLongestRecord = 200;

class MemoryFile {
 public:
  explicit MemoryFile(std::string_view text) : file_(::memfd_create("fuzz", MFD_CLOEXEC)) {
    expect(::pwrite(file_.get(), text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()),
           "the file can be written");
  }
  [[nodiscard]] std::string path() const { return "/proc/self/fd/" + std::to_string(file_.get()); }

 private:
  Descriptor file_;
};

struct Seen {
  bool good = false;
  std::uint64_t line = 0;
  std::uint64_t offset = 0;
  std::uint64_t number = 0;
  std::vector<std::string> fields;  // or the reason
  bool operator==(const Seen&) const = default;
};

Seen seen(const csv::Item& item) {
  if (const auto* bad = std::get_if<csv::BadRow>(&item)) {
    return {.good = false, .line = bad->line, .offset = 0, .number = 0, .fields = {bad->reason}};
  }
  const auto& row = std::get<csv::Record>(item);
  return {.good = true,
          .line = row.line,
          .offset = row.offset,
          .number = row.number,
          .fields = {row.fields.begin(), row.fields.end()}};
}

std::vector<Seen> rest_of(csv::RowSource& source) {
  std::vector<Seen> out;
  for (;;) {
    const auto item = source.next();
    expect(item.has_value(), "a file that nobody changes is read without an error");
    if (!*item) {
      return out;
    }
    out.push_back(seen(**item));
  }
}

// Behind `rows` good rows, at once.
std::vector<Seen> behind(std::vector<Seen> all, std::uint64_t rows) {
  std::size_t at = 0;
  for (; at < all.size() && rows > 0; ++at) {
    rows -= all[at].good ? 1 : 0;
  }
  all.erase(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(at));
  return all;
}

std::string quoted_field(const std::string& field) {
  std::string out = "\"";
  for (const char c : field) {
    out += c;
    if (c == '"') {
      out += c;
    }
  }
  return out + '"';
}

void expect_written_again_the_same(const std::vector<std::string>& columns,
                                   const std::vector<Seen>& all) {
  std::string text;
  const auto add = [&](const std::vector<std::string>& fields) {
    for (std::size_t i = 0; i < fields.size(); ++i) {
      text += (i == 0 ? "" : ",") + quoted_field(fields[i]);
    }
    text += "\r\n";
  };
  add(columns);
  std::vector<std::vector<std::string>> rows;
  for (const Seen& one : all) {
    if (one.good) {
      rows.push_back(one.fields);
      add(one.fields);
    }
  }
  const MemoryFile file(text);
  const auto source = csv::open_csv({.path = file.path()});
  expect(source.has_value(), "a header of good names is a header when each is quoted");
  expect((*source)->columns() == columns, "with the same columns");
  std::vector<std::vector<std::string>> again;
  for (Seen& one : rest_of(**source)) {
    expect(one.good, "and no row of it is bad");
    again.push_back(std::move(one.fields));
  }
  expect(again == rows, "rows written again are the same rows");
}

}  // namespace

void run_one(std::string_view input) {
  Input in(input);
  Limits small{.buffer_bytes = 1 + in.below(40), .max_record_bytes = kLongestRecord};
  small.block_bytes = 1 + in.below(60);
  const std::uint64_t skip = in.below(8);
  const MemoryFile file(in.rest());
  const Limits wide{.max_record_bytes = kLongestRecord};
  const CsvOptions forward{.path = file.path(), .limits = wide};

  const auto source = csv::open_csv(forward);
  CsvOptions other = forward;
  other.order = Order::reverse;
  other.limits = small;
  const auto reversed = csv::open_csv(other);
  expect(source.has_value() == reversed.has_value(), "both orders take the file, or neither");
  if (!source) {
    expect(source.error().what == reversed.error().what, "and say the same of it");
    return;
  }
  const std::vector<Seen> all = rest_of(**source);

  expect((*reversed)->columns() == (*source)->columns(), "both orders find the same columns");
  std::vector<Seen> backwards = rest_of(**reversed);
  std::reverse(backwards.begin(), backwards.end());
  expect(backwards == all, "in reverse order the same rows and faults come, last first");

  CsvOptions narrow = forward;
  narrow.limits = small;
  narrow.infer_types = true;
  const auto again = csv::open_csv(narrow);
  expect(again && (*again)->column_types().size() == (*again)->columns().size(),
         "each column has a type");
  expect((*again)->fingerprint() == (*source)->fingerprint(), "a file is the same file twice");
  const auto passed = (*again)->skip(skip);
  expect(passed.has_value() && rest_of(**again) == behind(all, skip), "skipping is reading");

  const auto reversed_again = csv::open_csv(other);
  expect(reversed_again && (*reversed_again)->skip(skip), "skipping in reverse order");
  std::reverse(backwards.begin(), backwards.end());
  expect(rest_of(**reversed_again) == behind(backwards, skip), "is reading, too");

  expect_written_again_the_same((*source)->columns(), all);
}

std::vector<std::string> seeds() {
  const std::string sizes("\3\7\2", 3);
  std::vector<std::string> out;
  for (const char* text :
       {"a,b\n1,2\n3,4\n", "a,b\r\n1,2\r\n3,\"x,\"\"y\"\"\"\r\n", "\xEF\xBB\xBFid\n1\n\n2",
        "a,b\n\"open,2\n3,4\n", "a,b\n1,2,3\n4\n5,6\n\n", "a,b\n1,\"two\nlines\"\n\r3,4\n",
        "a,b\n1,x\"y\n2,\"x\"y\n3,ok\n", "a,b\n\xC3\xA9,\xFF\n1,2", "\"a\",\"A\"\n1,2\n", "", "a",
        "id,name,unit_name,nutrient_nbr,rank,time\n1003,Protein,G,203,600.0,10:45\n"
        "1004,\"Total lipid (fat)\",G,204,800.0,\n1005,\"Carbo, by difference\",G,,1110,10:46\n"}) {
    out.push_back(sizes + text);
  }
  out.push_back(sizes + "a,b\n1," + std::string(250, 'x') + "\n2,3\n");
  return out;
}

}  // namespace turnstile::fuzz
