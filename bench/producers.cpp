#include "bench/producers.h"

#include <algorithm>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include "client/identity.h"
#include "client/producer.h"
#include "link/endpoint.h"

namespace turnstile::bench {
namespace {

// A producer and its connection.
class Connected {
 public:
  explicit Connected(const std::string& endpoint)
      : link_(value_of(connect_to_broker(endpoint))), producer_(*link_, options()) {
    static_cast<void>(value_of(producer_.start()));
    producer_.into(kTable, column_names());
  }

  Producer& producer() { return producer_; }

  void finish() {
    if (!value_of(producer_.finish()) || producer_.summary().dead_count > 0) {
      throw Failure("a producer ended with rows that were not applied");
    }
  }

 private:
  static ProducerOptions options() {
    ProducerOptions options;
    options.id = random_producer_id();
    return options;
  }

  std::unique_ptr<Link> link_;
  Producer producer_;
};

class BrokerWriter final : public WaitingWriter {
 public:
  explicit BrokerWriter(const std::string& endpoint) : connected_(endpoint) {}

  bool write(const Row& row) override {
    static_cast<void>(value_of(connected_.producer().append(row)));
    return value_of(connected_.producer().settle()) &&
           connected_.producer().summary().dead_count == 0;
  }
  void finish() override { connected_.finish(); }

 private:
  Connected connected_;
};

struct OneProcess {
  double began;
  double ended;
  Fingerprint written;
};

}  // namespace

double append_each(const std::string& endpoint, const std::filesystem::path& csv) {
  const Shared<double> seconds(1);
  Process::run("the producer", [&] {
    const MemoryRows rows(csv);
    Connected connected(endpoint);
    const double began = now_seconds();
    for (std::size_t i = 0; i < rows.size(); ++i) {
      static_cast<void>(value_of(connected.producer().append(rows.row(i))));
    }
    connected.finish();
    seconds[0] = now_seconds() - began;
  }).finish();
  return seconds[0];
}

Waiting write_waiting(Sample& sample, const Shares& shares, const OpenWriter& open) {
  const std::uint64_t rows = first_of(shares, shares.size()) - 1;
  const Shared<double> latencies(rows);  // by id; below 0: lost
  const Shared<OneProcess> totals(shares.size());
  Gate gate;
  std::vector<Process> processes;
  for (std::size_t at = 0; at < shares.size(); ++at) {
    processes.push_back(Process::run(fmt::format("writer {}", at), [&, at] {
      const auto writer = open(at);
      OneProcess& total = totals[at];
      const std::uint64_t first = first_of(shares, at);
      gate.pass();
      total.began = now_seconds();
      double before = total.began;
      for (std::uint64_t id = first; id < first + shares[at]; ++id) {
        const Row& row = sample.row(id);
        const bool written = writer->write(row);
        const double now = now_seconds();
        latencies[id - 1] = written ? now - before : -1;
        before = now;
        if (written) {
          total.written.add(row);
        }
      }
      total.ended = before;
      writer->finish();
    }));
  }
  gate.open(processes.size());
  for (auto& process : processes) {
    process.finish();
  }

  Waiting result;
  double began = totals[0].began;
  double ended = totals[0].ended;
  double slowest = std::numeric_limits<double>::max();
  double fastest = 0;
  for (const auto& total : totals.all()) {
    began = std::min(began, total.began);
    ended = std::max(ended, total.ended);
    const double rate = static_cast<double>(total.written.rows) / (total.ended - total.began);
    slowest = std::min(slowest, rate);
    fastest = std::max(fastest, rate);
    result.written.rows += total.written.rows;
    result.written.sum += total.written.sum;
  }
  for (const double latency : latencies.all()) {
    if (latency >= 0) {
      result.latencies.push_back(latency);
    }
  }
  result.rows_per_second = static_cast<double>(result.written.rows) / (ended - began);
  result.slowest_of_fastest = slowest / fastest;
  result.lost = static_cast<double>(rows - result.written.rows);
  return result;
}

std::unique_ptr<WaitingWriter> open_broker_writer(const std::string& endpoint) {
  return std::make_unique<BrokerWriter>(endpoint);
}

std::vector<Process> idle_producers(const std::string& endpoint, std::size_t count) {
  Gate gate;
  std::vector<Process> processes;
  for (std::size_t at = 0; at < count; ++at) {
    processes.push_back(Process::run("an idle producer", [&] {
      Connected connected(endpoint);
      gate.pass();
      for (;;) {
        check(connected.producer().pump(std::chrono::seconds(10)));
      }
    }));
  }
  gate.open(count);
  return processes;
}

}  // namespace turnstile::bench
