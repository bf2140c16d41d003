// The second pass of reverse order: blocks from the last to the first, each one's rows reversed.
// csv_reader.h says why, and what it costs.
#pragma once

#include <memory>
#include <string>

#include "base/descriptor.h"
#include "base/result.h"
#include "producers/csv/bytes.h"
#include "producers/csv/reader.h"
#include "producers/csv/survey.h"

namespace turnstile::csv {

// `file` was surveyed after `stamp` was taken; a change since then is an error of next(). Memory:
// one block and its longest row. Error: io.
Result<std::unique_ptr<RowSource>> open_reverse(Descriptor file, std::string name,
                                                const FileStamp& stamp, const Header& header,
                                                Survey survey, const Limits& limits);

}  // namespace turnstile::csv
