// Ledgers (inspect/check_ledger.h): whatever stands in a line, the lines before and behind it
// count.
#include <sys/mman.h>
#include <unistd.h>

#include <map>

#include "inspect/check_ledger.h"
#include "tests/fuzz/fuzz.h"

namespace turnstile::fuzz {
namespace {

constexpr std::string_view kKnown =
    R"({"producer":"known","first":101,"last":200,"level":"applied","at_ms":1714923541987})"
    "\n";

check::Ledgers read(const std::vector<std::string>& files) {
  check::Ledgers ledgers;
  for (const std::string& text : files) {
    const int fd = ::memfd_create("fuzz", MFD_CLOEXEC);
    expect(::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()),
           "the file can be written");
    expect(check::read_ledger("/proc/self/fd/" + std::to_string(fd), ledgers).has_value(),
           "a ledger that is there can be read");
    ::close(fd);
  }
  return ledgers;
}

std::uint64_t lines_of(const check::Ledgers& ledgers) {
  std::uint64_t lines = 0;
  for (const auto& file : ledgers.files) {
    lines += file.lines;
  }
  return lines;
}

bool same(const check::Ledgers& a, const check::Ledgers& b) {
  return lines_of(a) == lines_of(b) &&
         std::equal(a.producers.begin(), a.producers.end(), b.producers.begin(), b.producers.end(),
                    [](const auto& x, const auto& y) {
                      return x.first == y.first &&
                             x.second.stored.ranges() == y.second.stored.ranges() &&
                             x.second.applied.ranges() == y.second.applied.ranges();
                    });
}

}  // namespace

void run_one(std::string_view input) {
  const std::string text(input);
  auto ledgers = read({text});
  expect(
      lines_of(ledgers) == static_cast<std::uint64_t>(std::count(text.begin(), text.end(), '\n')),
      "each line feed ends one line");
  for (const auto& [producer, told] : ledgers.producers) {
    expect(!producer.empty() && (!told.stored.empty() || !told.applied.empty()),
           "a producer that is named was told something");
    for (const auto* ranges : {&told.stored, &told.applied}) {
      expect(ranges->empty() || (ranges->ranges().begin()->first >= 1 &&
                                 ranges->greatest() <= static_cast<std::uint64_t>(INT64_MAX)),
             "sequences are from 1 to 2^63 - 1");
    }
  }

  const std::string whole = text.substr(0, text.rfind('\n') + 1);  // npos + 1 is 0
  expect(same(read({whole}), ledgers), "what follows the last line feed is not counted");
  expect(
      same(read({whole + R"({"producer":"torn","first":1,"last":2,"level":"stored","at_ms":1})"}),
           ledgers),
      "nor is a line that was cut off before its line feed");

  const auto with_known = read({std::string(kKnown) + whole + std::string(kKnown)});
  expect(lines_of(with_known) == lines_of(ledgers) + 2, "lines around it are lines");
  expect(same(with_known, read({std::string(kKnown), whole, std::string(kKnown)})),
         "one file says what its parts say");
  auto expected = ledgers.producers["known"].applied;
  expected.add(101, 200);
  expect(with_known.producers.at("known").applied.ranges() == expected.ranges(),
         "a good line counts, whatever stands beside it");
}

std::vector<std::string> seeds() {
  const std::string known(kKnown);
  return {known,
          known + known.substr(0, 40),
          R"({"at_ms":1,"level":"stored","last":9,"first":1,"producer":"a","more":[1,{}]})"
          "\nnot json\n{}\n[]\nnull\n" +
              known,
          R"({"producer":"a","first":0,"last":1,"level":"stored","at_ms":1})"
          "\n"
          R"({"producer":"a","first":2,"last":1,"level":"stored","at_ms":1})"
          "\n"
          R"({"producer":"a","first":1,"last":9223372036854775808,"level":"stored","at_ms":1})"
          "\n",
          std::string(5000, 'x') + "\n" + known,
          std::string(4096, ' ') + "\n" + std::string(4095, ' ') + "\n" + known,
          "\n\n\r\n",
          std::string("\0\n", 2)};
}

}  // namespace turnstile::fuzz
