// SQLite out of memory, at an allocation of the test's choice. While one of these lives no other
// does, and no connection is older than it or outlives it.
#pragma once

namespace turnstile::test {

class FailingMemory {
 public:
  FailingMemory();
  FailingMemory(const FailingMemory&) = delete;
  FailingMemory& operator=(const FailingMemory&) = delete;
  ~FailingMemory();

  // The nth allocation from now on (1: the next) gives nothing; `and_after`: nor do those after it.
  void fail(int nth, bool and_after = false);
  void fail_no_more();

  [[nodiscard]] int allocations() const;  // since fail() or fail_no_more()
  [[nodiscard]] int failures() const;     // the same
};

}  // namespace turnstile::test
