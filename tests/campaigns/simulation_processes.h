// The processes of a simulation: the product's state machines behind simulated links.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "broker/core.h"
#include "client/session.h"
#include "consumer/consumer.h"
#include "tests/campaigns/simulation_world.h"

namespace turnstile::simulation {

std::string text_of(const Message& message);

class BrokerProcess final : public Process {
 public:
  using Process::Process;
  void start() override;
  void turn() override;
  void die() override;
  void stop() override;
  [[nodiscard]] TimePoint due() const override;

 private:
  void send_outbox();

  std::unique_ptr<SimulatedJournal> journal_;
  std::unique_ptr<broker::Core> core_;
  TimePoint deadline_;
  std::uint64_t starts_ = 0;
  std::uint64_t taken_ = 0;  // messages since the outbox was looked at
};

// A process with a link.
class ClientProcess : public Process {
 public:
  ClientProcess(World& world, std::string name, std::size_t client);
  void start() override;
  void die() override;

 protected:
  virtual void begin() = 0;
  virtual void forget() = 0;
  virtual void took(const Message& message) = 0;
  virtual void sent(const Message& message) = 0;

  SimulatedLink link_;
};

class ConsumerProcess final : public ClientProcess {
 public:
  using ClientProcess::ClientProcess;
  void turn() override;
  void stop() override;
  [[nodiscard]] TimePoint due() const override;

 private:
  void begin() override;
  void forget() override;
  void took(const Message& message) override;
  void sent(const Message& message) override;

  std::unique_ptr<consumer::Consumer> consumer_;
  Audit::Consumer audit_;
  TimePoint wake_;
};

struct Input {
  bool is_named = false;
  std::uint64_t rows = 0;
  std::uint64_t batch_rows = 1;
  std::size_t max_unacked_bytes = 0;
  bool wants_applied = true;
  milliseconds pace{0};
};

class ProducerProcess final : public ClientProcess {
 public:
  ProducerProcess(World& world, std::string producer, std::size_t client, Input input);
  void turn() override;
  [[nodiscard]] TimePoint due() const override;

 private:
  void begin() override;
  void forget() override;
  void took(const Message& message) override;
  void sent(const Message& message) override;
  void add_batch();
  void failed(const Error& error);
  [[nodiscard]] bool has_room() const;

  std::string id_;
  Input input_;
  std::unique_ptr<Session> session_;
  Audit::Producer audit_;
  TimePoint wake_;
  std::uint64_t lives_ = 0;
  std::uint64_t last_ = 0;      // of the input, once the welcome came
  std::uint64_t welcomes_ = 0;  // of this life
  bool loses_next_ = false;     // batch (Planted::lost_resend)
};

// Says what no producer of ours would.
class RogueProcess final : public ClientProcess {
 public:
  using ClientProcess::ClientProcess;
  void turn() override;
  [[nodiscard]] TimePoint due() const override;

 private:
  void begin() override {}
  void forget() override {}
  void took(const Message& message) override;
  void sent(const Message& /*message*/) override {}
  void say_something();

  TimePoint wake_;
  Epoch epoch_;
  std::uint64_t words_ = 0;
};

}  // namespace turnstile::simulation
