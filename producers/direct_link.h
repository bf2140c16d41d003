// Direct mode as a link: this process itself writes each batch into the target within send(). The
// producer on top of it does not know that there is no broker.
//
// A batch that cannot be written, for example because of "database is locked", is lost, and so is a
// row that the target refuses. Both are answered as applied, with dead rows that carry the reason.
// Unlike dead letters, these rows are stored nowhere.
//
// Belongs to one thread.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "link/link.h"
#include "proto/messages.h"
#include "store/direct_writer.h"

namespace turnstile {

class DirectLink final : public Link {
 public:
  // `on_text_error` is called when committed rows have no lines in the text log.
  explicit DirectLink(store::DirectOptions options,
                      std::function<void(const Error&)> on_text_error = {});

  // Opens the file to check whether rows for the table can be written at all. A lock may be
  // released later and is no error. Errors: those of opening (no directory, no permission, ...).
  Result<void> try_open(const std::string& table, const std::vector<std::string>& columns);

  bool send(const Message& message) override;
  std::optional<Message> receive(std::chrono::milliseconds wait) override;

 private:
  void answer(const Hello& hello);
  void answer(const Heartbeat& heartbeat);
  void answer(const Batch& batch);
  void answer(const CheckTable& question);
  template <typename Other>
  void answer(const Other& /*other*/) {}  // needs no answer

  store::DirectWriter writer_;
  std::function<void(const Error&)> on_text_error_;
  std::deque<Message> answers_;
};

}  // namespace turnstile
