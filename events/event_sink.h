// Where instrumented code writes its events: one O_APPEND write each, so that lines of many
// processes never mix. Code that is instrumented holds a pointer to a sink, which is null when
// nobody watches: then it costs a comparison.
//
//   if (events_ != nullptr) {
//     events_->about(EventKind::committed, header);
//   }
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/descriptor.h"
#include "base/result.h"
#include "events/event.h"
#include "proto/messages.h"
#include "proto/rows.h"

namespace turnstile {

class EventSink {
 public:
  // Creates the file when it is missing. Errors: unreachable.
  static Result<std::shared_ptr<EventSink>> open(const std::string& path, std::string process);
  // By TURNSTILE_EVENTS and TURNSTILE_PROCESS. Null when there is no such variable; also when the
  // file cannot be opened, which is said on stderr.
  static std::shared_ptr<EventSink> from_environment();

  EventSink(const EventSink&) = delete;
  EventSink& operator=(const EventSink&) = delete;
  ~EventSink() = default;

  // Adds the time; the process and its number too, unless they are set. A line that cannot be
  // written is dropped. Threads may share a sink.
  void write(Event event) const;

  // About no row.
  void about(EventKind kind) const;
  // About the rows of a batch.
  void about(EventKind kind, const BatchHeader& header, std::string_view row = {}) const;
  // About one row of a producer that was refused.
  void refused(const ProducerId& producer, Sequence row, const std::string& reason) const;
  void acknowledged(const ProducerId& producer, Sequence first, Sequence last,
                    std::string_view level) const;

 private:
  EventSink(Descriptor fd, std::string process);

  const Descriptor fd_;
  const std::string process_;
  const std::int64_t pid_;
};

// What people call a row: its first value.
std::string row_name(std::span<const std::string_view> row);
std::string row_name(std::span<const ValueRef> row);

}  // namespace turnstile
