// Direct mode as a link: what is sent is written into the target by this process itself, within
// send(), one batch at a time. A producer on it does not know that there is no broker.
//
// A batch that could not be written, such as to "database is locked", is lost, and so is a row that
// the target refused: both are answered as applied with dead rows that carry the reason. Unlike
// dead letters they are kept nowhere.
//
// Belongs to one thread.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "link/link.h"
#include "proto/messages.h"
#include "base/result.h"
#include "store/direct_writer.h"

namespace turnstile {

class DirectLink final : public Link {
 public:
  // `on_text_error` hears of rows that are committed and whose lines the text log lacks.
  explicit DirectLink(store::DirectOptions options,
                      std::function<void(const Error&)> on_text_error = {});

  // Whether rows for the table can be written at all: opens the file. A locked one may be free
  // later, so that is no error. Errors: those of opening (no folder, no permission, ...).
  Result<void> try_open(const std::string& table, const std::vector<std::string>& columns);

  bool send(const Message& message) override;
  std::optional<Message> receive(std::chrono::milliseconds wait) override;

 private:
  void answer(const Hello& hello);
  void answer(const Heartbeat& heartbeat);
  void answer(const Batch& batch);
  void answer(const CheckTable& question);
  template <typename Other>
  void answer(const Other& /*other*/) {}  // nothing to say to it

  store::DirectWriter writer_;
  std::function<void(const Error&)> on_text_error_;
  std::deque<Message> answers_;
};

}  // namespace turnstile
