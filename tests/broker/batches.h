// Batches for the tests of the broker, which never decodes their rows.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "broker/window.h"
#include "proto/messages.h"

namespace turnstile::broker {

inline constexpr TimePoint kStart{std::chrono::hours(1)};

inline Batch batch_of(const std::string& producer, std::uint64_t first, std::uint64_t last,
                      std::size_t rows_bytes = 100, std::uint64_t epoch = 1) {
  Batch batch;
  batch.header.producer = {producer};
  batch.header.epoch = {epoch};
  batch.header.first = {first};
  batch.header.rows = static_cast<std::uint32_t>(last - first + 1);
  batch.header.table = "pets";
  batch.header.columns = {"name"};
  batch.header_frame = encode_batch_header(batch.header);
  batch.rows_frame = Bytes(std::string(rows_bytes, 'r'));
  return batch;
}

inline BatchResult applied_result(Ticket ticket, std::uint64_t through) {
  return {ticket, Outcome::applied, {through}, 0, {}};
}

}  // namespace turnstile::broker
