// A real file system of a test's own with room for a few MiB, so that it can be filled.
//
// It is mounted where only this process and those that it starts see it. That takes the right to
// mount: root's, or that of a user namespace of one's own, which not every system lets a user have.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace turnstile::campaign {

class SmallDisk {
 public:
  // At `path`, which it makes. Throws, and says what is missing, where nothing can be mounted.
  SmallDisk(std::filesystem::path path, std::uint64_t bytes);
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  ~SmallDisk();

  [[nodiscard]] std::filesystem::path file(const std::string& name) const { return path_ / name; }
  // Takes all the room that is left.
  void fill();
  // Gives it back.
  void make_room();
  [[nodiscard]] std::uint64_t free_bytes() const;

 private:
  std::filesystem::path path_;
};

}  // namespace turnstile::campaign
