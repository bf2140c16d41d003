#include "producers/direct_link.h"

#include <poll.h>

#include <algorithm>
#include <utility>
#include <variant>

#include "proto/limits.h"

namespace turnstile {
namespace {

Applied lost(const BatchHeader& header, const std::string& reason) {
  Applied applied;
  applied.through = header.last();
  applied.dead_count = header.rows;
  for (std::uint32_t i = 0; i < header.rows && i < limits::kDeadListed; ++i) {
    applied.dead.push_back({plus(header.first, i), reason});
  }
  return applied;
}

}  // namespace

DirectLink::DirectLink(store::DirectOptions options,
                       std::function<void(const Error&)> on_text_error)
    : writer_(std::move(options)), on_text_error_(std::move(on_text_error)) {}

Result<void> DirectLink::try_open(const std::string& table,
                                  const std::vector<std::string>& columns) {
  const auto looked = writer_.check_table(table, columns);
  if (looked || looked.error().code == Errc::locked) {
    return {};
  }
  return tl::make_unexpected(looked.error());
}

bool DirectLink::send(const Message& message) {
  std::visit([this](const auto& m) { answer(m); }, message);
  return true;
}

std::optional<Message> DirectLink::receive(std::chrono::milliseconds wait) {
  if (answers_.empty()) {
    // Nothing can arrive. The caller wants to wait, unless a signal comes.
    ::poll(nullptr, 0, static_cast<int>(wait.count()));
    return std::nullopt;
  }
  Message message = std::move(answers_.front());
  answers_.pop_front();
  return message;
}

void DirectLink::answer(const Hello& /*hello*/) {
  Welcome welcome;
  welcome.epoch = {1};
  welcome.through_is_sure = true;
  welcome.credit_bytes = 1;  // one batch at a time
  welcome.consumer_attached = true;
  answers_.emplace_back(std::move(welcome));
}

void DirectLink::answer(const Heartbeat& heartbeat) {
  answers_.emplace_back(heartbeat);
}

void DirectLink::answer(const Batch& batch) {
  auto written = writer_.write(batch.header, batch.rows_frame.view());
  if (!written) {
    answers_.emplace_back(lost(batch.header, written.error().what));
    return;
  }
  if (written->text_error && on_text_error_) {
    on_text_error_(*written->text_error);
  }
  answers_.emplace_back(
      Applied{batch.header.last(), written->batch.dead_count, std::move(written->batch.dead)});
}

void DirectLink::answer(const CheckTable& question) {
  auto looked = writer_.check_table(question.table, question.columns);
  TableAnswer answer =
      looked ? std::move(*looked) : TableAnswer{0, TableState::unknown, looked.error().what};
  answer.request = question.request;
  answers_.emplace_back(std::move(answer));
}

}  // namespace turnstile
