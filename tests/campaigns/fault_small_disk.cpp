#include "tests/campaigns/fault_small_disk.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <stdexcept>
#include <string_view>
#include <system_error>
#include <utility>

#include "tests/e2e/harness.h"

namespace turnstile::campaign {
namespace {

constexpr const char* kBallast = "ballast";

[[noreturn]] void give_up(std::string_view doing) {
  throw std::system_error(
      errno, std::generic_category(),
      std::string(doing) +
          ": without a real full disk this test says nothing. Run it as root, or where a user may "
          "have a user namespace of his own (sysctl kernel.unprivileged_userns_clone=1; a "
          "container "
          "needs CAP_SYS_ADMIN)");
}

// From now on mounts are this process's own.
void leave_the_systems_mounts() {
  if (::unshare(CLONE_NEWNS) != 0) {
    const std::string user = "0 " + std::to_string(::geteuid()) + " 1";
    const std::string group = "0 " + std::to_string(::getegid()) + " 1";
    if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) {
      give_up("leaving the system's mounts");
    }
    e2e::write_file("/proc/self/setgroups", "deny");
    e2e::write_file("/proc/self/uid_map", user);
    e2e::write_file("/proc/self/gid_map", group);
  }
  if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    give_up("keeping mounts to this process");
  }
}

}  // namespace

SmallDisk::SmallDisk(std::filesystem::path path, std::uint64_t bytes) : path_(std::move(path)) {
  static const bool kLeft = (leave_the_systems_mounts(), true);
  static_cast<void>(kLeft);
  std::filesystem::create_directory(path_);
  const std::string size = "size=" + std::to_string(bytes);
  if (::mount("tmpfs", path_.c_str(), "tmpfs", 0, size.c_str()) != 0) {
    give_up("mounting a small tmpfs");
  }
}

SmallDisk::~SmallDisk() {
  ::umount2(path_.c_str(), MNT_DETACH);
}

void SmallDisk::fill() {
  const std::string piece(4096, 'b');
  const int fd = ::open(file(kBallast).c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0) {
    throw std::runtime_error("cannot make " + file(kBallast).string());
  }
  while (::write(fd, piece.data(), piece.size()) > 0) {
  }
  ::close(fd);
}

void SmallDisk::make_room() {
  std::filesystem::remove(file(kBallast));
}

std::uint64_t SmallDisk::free_bytes() const {
  return std::filesystem::space(path_).available;
}

}  // namespace turnstile::campaign
