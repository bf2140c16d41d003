#include "bench/lines.h"

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include <fmt/format.h>

#include "bench/comparisons.h"
#include "bench/jetstream.h"
#include "bench/latencies.h"
#include "bench/producers.h"
#include "bench/system.h"

namespace turnstile::bench {
namespace {

using std::chrono::milliseconds;

constexpr double kMs = 1e3;
constexpr double kUs = 1e6;
constexpr double kKib = 1024;
constexpr std::size_t kQuarters = 4;
constexpr double kNearlyAll = 0.999;
// How often a round repeats the comparisons that take about a second, half of them in each order.
// Short measurements vary most when the machine's speed changes.
constexpr int kShortTimes = 4;
constexpr int kLongTimes = 2;
// A row takes about 50 bytes in the journal's files, and later 40 in the target's.
constexpr std::uint64_t kFilesARow = 64;
constexpr const char* kNoServe = "this program has no 'serve'";

// Measures ours and theirs; every second time in the opposite order.
struct Pair {
  double ours;
  double theirs;
};
Pair in_turns(int time, const std::function<double()>& ours,
              const std::function<double()>& theirs) {
  Pair pair{};
  if (time % 2 == 1) {
    pair.ours = ours();
    pair.theirs = theirs();
  } else {
    pair.theirs = theirs();
    pair.ours = ours();
  }
  return pair;
}

}  // namespace

Lines::Lines(Setting setting, const std::set<int>& lines, Figures& figures)
    : setting_(std::move(setting)),
      lines_(lines),
      figures_(figures),
      sample_(setting_.sample),
      has_serve_(has_serve(setting_.program, setting_.directory)),
      jetstream_problem_(jetstream_problem()) {
  const std::uint64_t rows = setting_.counts.rows;
  all_ = make_input("rows", 1, rows);
  one_ = make_input("one", 1, 1);
  if (wanted(4)) {
    const Shares shares = equal_shares(rows, kQuarters);
    for (std::size_t i = 0; i < kQuarters; ++i) {
      quarters_.push_back(make_input(fmt::format("rows-{}", i), first_of(shares, i), shares[i]));
    }
  }
  if (wanted(11)) {
    big_ = make_input("big", 1, setting_.counts.big_rows);
  }
  if (!jetstream_problem_.empty()) {
    for (const char* key : {"each", "jetstream", "one-jetstream"}) {
      figures_.skip(key, jetstream_problem_);
    }
  }
  if (!has_serve_) {
    figures_.skip("one-serve", kNoServe);
  }
}

Lines::Input Lines::make_input(const std::string& name, std::uint64_t first, std::uint64_t rows) {
  Input input;
  input.csv = setting_.directory / (name + ".csv");
  sample_.write_csv(input.csv, first, rows);
  input.fingerprint = sample_.fingerprint(first, rows);
  return input;
}

double Lines::rate(double seconds) const {
  return static_cast<double>(setting_.counts.rows) / seconds;
}

void Lines::run(int round, const std::function<void(const std::string& what)>& on_begin) {
  const bool has_jetstream = jetstream_problem_.empty();
  struct Part {
    const char* name;
    bool wanted;
    int times;  // in one round
    std::function<void(int)> measure;
  };
  const std::array<Part, 11> parts{{
      {"lines 1 and 2", wanted(1) || wanted(2), kShortTimes,
       [&](int time) { compare_with_import(time); }},
      {"line 3", wanted(3), kShortTimes, [&](int time) { compare_with_limit(time); }},
      {"line 4", wanted(4), kShortTimes, [&](int time) { compare_four(time); }},
      {"line 5", wanted(5) && has_jetstream, 1, [&](int time) { compare_each(time); }},
      {"line 6", wanted(6) && has_jetstream, 1, [&](int time) { compare_with_jetstream(time); }},
      {"line 7", wanted(7), kLongTimes, [&](int time) { compare_waiting(time); }},
      {"line 8", wanted(8), kLongTimes, [&](int time) { compare_one(time); }},
      {"lines 9 and 10", wanted(9) || wanted(10), kShortTimes,
       [&](int time) { compare_backlog(time); }},
      {"line 11", wanted(11), kLongTimes, [&](int) { compare_big_backlog(); }},
      {"line 12", wanted(12), 1, [&](int) { measure_idle(); }},
      {"line 13", wanted(13), 1, [&](int) { measure_start(); }},
  }};
  for (const Part& part : parts) {
    for (int time = 1; part.wanted && time <= part.times; ++time) {
      on_begin(part.name);
      part.measure(part.times * (round - 1) + time);
    }
  }
}

// ---- the measurements

std::filesystem::path Lines::fresh(const std::string& name) const {
  auto directory = fresh_directory(setting_.directory, name);
  warm_memory(directory, 2 * kFilesARow * setting_.counts.rows);
  return directory;
}

double Lines::through_turnstile(bool with_text) {
  System system(setting_.program, fresh("turnstile"),
                with_text ? System::Text::yes : System::Text::no);
  system.start();
  auto producer = system.produce(all_.csv);
  producer.finish();
  system.stop();
  check_database(system.db(), all_.fingerprint, {setting_.counts.rows});
  if (with_text) {
    check_text(system.text(), system.db());
  }
  return producer.seconds();
}

double Lines::through_import() {
  const auto directory = fresh("import");
  const double seconds =
      import_with_shell(all_.csv, directory / "import.db", directory / "sqlite3");
  check_database(directory / "import.db", all_.fingerprint, {setting_.counts.rows});
  return seconds;
}

double Lines::through_limit() {
  const auto directory = fresh("limit");
  const double seconds = insert_from_memory(all_.csv, directory / "limit.db");
  check_database(directory / "limit.db", all_.fingerprint, {setting_.counts.rows});
  return seconds;
}

double Lines::four_producers() {
  System system(setting_.program, fresh("turnstile"));
  system.start();
  std::vector<Process> producers;
  for (const auto& quarter : quarters_) {
    producers.push_back(
        system.produce(quarter.csv, {}, fmt::format("produce-{}", producers.size())));
  }
  const auto began = producers.front().started();
  auto ended = began;
  for (auto& producer : producers) {
    producer.finish();
    ended = std::max(ended, producer.ended());
  }
  system.stop();
  check_database(system.db(), all_.fingerprint, equal_shares(setting_.counts.rows, kQuarters));
  return seconds_between(began, ended);
}

double Lines::append_for_each() {
  System system(setting_.program, fresh("turnstile"));
  system.start();
  const double seconds = append_each(system.endpoint(), all_.csv);
  system.stop();
  check_database(system.db(), all_.fingerprint, {setting_.counts.rows});
  return seconds;
}

double Lines::through_jetstream(bool one_row_a_message) {
  const auto directory = fresh("jetstream");
  const auto run = one_row_a_message ? jetstream_each : jetstream_csv;
  const double seconds = run(directory, all_.csv, setting_.counts.rows);
  check_database(jetstream_target(directory), all_.fingerprint, {setting_.counts.rows});
  return seconds;
}

Lines::Stored Lines::store_and_drain(const Input& input) {
  const auto directory = fresh_directory(setting_.directory, "turnstile");
  const std::uint64_t files = kFilesARow * input.fingerprint.rows;
  warm_memory(directory, files);
  System system(setting_.program, directory);
  system.start_broker();
  auto producer = system.produce(input.csv, {"--ack", "stored"});
  producer.finish();
  ProgressWatch watch(system.db());
  warm_memory(directory, files);
  const double began = now_seconds();
  system.start_consumer();
  wait_until("the backlog was applied", milliseconds(2),
             [&] { return watch.rows() >= input.fingerprint.rows; });
  const double ended = now_seconds();
  const double peak = std::max(producer.peak_mib(), system.peak_mib());
  system.stop();
  check_database(system.db(), input.fingerprint, {input.fingerprint.rows});
  return {producer.seconds(), ended - began, peak};
}

double Lines::median_wait(Way way) {
  const std::uint64_t rows = setting_.counts.one_rows;
  const auto directory = fresh("one");
  const auto finish = [&](const std::vector<double>& latencies, const std::filesystem::path& db) {
    check_database(db, sample_.fingerprint(1, rows), {rows});
    return Latencies(latencies).median();
  };
  if (way == Way::jetstream) {
    return finish(jetstream_waiting(directory, sample_, rows), jetstream_target(directory));
  }
  if (way == Way::direct) {
    const auto db = directory / "direct.db";
    make_direct_database(db);
    const auto open = [&](std::size_t) { return open_direct_writer(db); };
    return finish(write_waiting(sample_, {rows}, open).latencies, db);
  }
  System system(setting_.program, directory);
  if (way == Way::serve) {
    system.start_serve();
    system.wait_for_consumer();
  } else {
    system.start();
  }
  const auto open = [&](std::size_t) { return open_broker_writer(system.endpoint()); };
  const auto waiting = write_waiting(sample_, {rows}, open);
  system.stop();
  return finish(waiting.latencies, system.db());
}

// ---- the lines

void Lines::compare_with_import(int time) {
  if (wanted(1)) {
    const auto pair = in_turns(
        time, [&] { return through_turnstile(false); }, [&] { return through_import(); });
    figures_.add("csv", rate(pair.ours), rate(pair.theirs));
  }
  if (wanted(2)) {
    const auto pair = in_turns(
        time, [&] { return through_turnstile(true); }, [&] { return through_import(); });
    figures_.add("csv-text", rate(pair.ours), rate(pair.theirs));
  }
}

void Lines::compare_with_limit(int time) {
  const auto pair = in_turns(
      time, [&] { return through_turnstile(false); }, [&] { return through_limit(); });
  figures_.add("limit", rate(pair.ours), rate(pair.theirs));
}

void Lines::compare_four(int time) {
  const auto pair = in_turns(
      time, [&] { return four_producers(); }, [&] { return through_turnstile(false); });
  figures_.add("four", rate(pair.ours), rate(pair.theirs));
}

void Lines::compare_each(int time) {
  const auto pair = in_turns(
      time, [&] { return append_for_each(); }, [&] { return through_jetstream(true); });
  figures_.add("each", rate(pair.ours), rate(pair.theirs));
}

void Lines::compare_with_jetstream(int time) {
  const auto pair = in_turns(
      time, [&] { return through_turnstile(false); }, [&] { return through_jetstream(false); });
  figures_.add("jetstream", rate(pair.ours), rate(pair.theirs));
}

void Lines::compare_waiting(int time) {
  const Shares shares = equal_shares(setting_.counts.waiting_rows, setting_.counts.writers);
  Waiting ours;
  Waiting theirs;
  const auto through_broker = [&] {
    System system(setting_.program, fresh("turnstile"));
    system.start();
    ours = write_waiting(sample_, shares,
                         [&](std::size_t) { return open_broker_writer(system.endpoint()); });
    system.stop();
    check_database(system.db(), ours.written, shares, Holes::known);
    return ours.rows_per_second;
  };
  const auto direct = [&] {
    const auto db = fresh("direct") / "direct.db";
    make_direct_database(db);
    theirs = write_waiting(sample_, shares, [&](std::size_t) { return open_direct_writer(db); });
    check_database(db, theirs.written, shares, Holes::known);
    return theirs.rows_per_second;
  };
  const auto pair = in_turns(time, through_broker, direct);
  const Latencies our_waits(ours.latencies);
  const Latencies their_waits(theirs.latencies);
  figures_.add("waiting", pair.ours, pair.theirs);
  figures_.add("waiting-p999", our_waits.quantile(kNearlyAll) * kMs,
               their_waits.quantile(kNearlyAll) * kMs);
  figures_.add("waiting-worst", our_waits.worst() * kMs, their_waits.worst() * kMs);
  figures_.add("waiting-lost", ours.lost, theirs.lost);
  figures_.add("waiting-fair", ours.slowest_of_fastest, theirs.slowest_of_fastest);
}

void Lines::compare_one(int time) {
  std::vector<Way> ways{Way::apart, Way::direct};
  if (has_serve_) {
    ways.insert(ways.begin() + 1, Way::serve);
  }
  if (jetstream_problem_.empty()) {
    ways.push_back(Way::jetstream);
  }
  const auto shift = static_cast<std::ptrdiff_t>(static_cast<std::size_t>(time) % ways.size());
  std::rotate(ways.begin(), ways.begin() + shift, ways.end());
  std::map<Way, double> waits;
  for (const Way way : ways) {
    waits[way] = median_wait(way) * kUs;
  }
  figures_.add("one", waits[Way::apart], waits[Way::direct]);
  if (has_serve_) {
    figures_.add("one-serve", waits[Way::serve], waits[Way::direct]);
  }
  if (jetstream_problem_.empty()) {
    figures_.add("one-jetstream", waits[Way::apart], waits[Way::jetstream]);
  }
}

void Lines::compare_backlog(int time) {
  Stored stored{};
  const auto pair = in_turns(
      time,
      [&] {
        stored = store_and_drain(all_);
        return stored.store_seconds;
      },
      [&] { return through_turnstile(false); });
  figures_.add("store", stored.store_seconds, pair.theirs);
  figures_.add("drain", stored.drain_seconds, pair.theirs);
}

void Lines::compare_big_backlog() {
  const Stored before = store_and_drain(all_);
  const Stored big = store_and_drain(big_);
  const Stored after = store_and_drain(all_);
  const auto big_rows = static_cast<double>(setting_.counts.big_rows);
  figures_.add("big-store", big_rows / big.store_seconds,
               2 * rate(before.store_seconds + after.store_seconds));
  figures_.add("big-drain", big_rows / big.drain_seconds,
               2 * rate(before.drain_seconds + after.drain_seconds));
  figures_.add("big-memory", big.peak_mib);
}

void Lines::measure_idle() {
  constexpr milliseconds kUntilQuiet{3000};
  constexpr double kPercent = 100;
  System system(setting_.program, fresh("turnstile"));
  system.start();
  const auto producers = idle_producers(system.endpoint(), setting_.counts.idle_producers);
  pause(kUntilQuiet);
  const double began = now_seconds();
  const double cpu = system.cpu_seconds();
  const double written = system.written_bytes();
  pause(setting_.counts.idle_time);
  const double cpu_share = (system.cpu_seconds() - cpu) / (now_seconds() - began);
  const double written_meanwhile = system.written_bytes() - written;
  system.stop();
  figures_.add("idle", cpu_share * kPercent);
  figures_.add("idle-writes", written_meanwhile / kKib);
}

void Lines::measure_start() {
  System system(setting_.program, fresh("turnstile"));
  const auto began = Clock::now();
  system.start_broker();
  system.start_consumer();
  auto producer = system.produce(one_.csv);
  producer.finish();
  system.stop();
  check_database(system.db(), one_.fingerprint, {1});
  figures_.add("start", seconds_between(began, producer.ended()) * kMs);
}

}  // namespace turnstile::bench
