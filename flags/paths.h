// Files that one command uses in several roles must be different files, whatever names lead there.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace turnstile {

struct FileRole {
  std::string flag;  // that names it
  std::string path;  // empty: not used
  // What is kept beside it, by the ends of the names.
  std::vector<std::string> beside;
};

FileRole database_role(std::string flag, std::string path);
FileRole journal_role(std::string flag, std::string path);
// Of an endpoint that is no ipc:// there is no file.
FileRole socket_role(std::string flag, const std::string& endpoint);
FileRole plain_role(std::string flag, std::string path);

// Hard and symbolic links are followed. Errors: bad_input, naming both flags.
Result<void> check_distinct(const std::vector<FileRole>& roles);

}  // namespace turnstile
