# cmake -DPAGE=DIR -DOUT=FILE -P embed.cmake: writes FILE, which implements lab/assets.h with the
# files of DIR.
file(GLOB files RELATIVE ${PAGE} ${PAGE}/*.html ${PAGE}/*.js ${PAGE}/*.css ${PAGE}/*.svg
     ${PAGE}/*.png ${PAGE}/*.ico)
set(arrays "")
set(table "")
set(count 0)
foreach(file IN LISTS files)
  file(READ ${PAGE}/${file} bytes HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
  if(file MATCHES "\\.html$")
    set(type "text/html; charset=utf-8")
  elseif(file MATCHES "\\.js$")
    set(type "text/javascript; charset=utf-8")
  elseif(file MATCHES "\\.css$")
    set(type "text/css; charset=utf-8")
  elseif(file MATCHES "\\.svg$")
    set(type "image/svg+xml")
  elseif(file MATCHES "\\.png$")
    set(type "image/png")
  else()
    set(type "image/x-icon")
  endif()
  string(APPEND arrays "constexpr unsigned char kFile${count}[] = {${bytes}0};\n")
  string(APPEND table "    Asset{\"${file}\", \"${type}\", text_of(kFile${count})},\n")
  math(EXPR count "${count} + 1")
endforeach()
file(WRITE ${OUT}.new "// Made by lab/embed.cmake.
// NOLINTBEGIN: generated code
#include \"lab/assets.h\"

#include <array>
#include <cstddef>

namespace turnstile::lab {
namespace {

${arrays}
// Without the terminating zero.
template <std::size_t kSize>
std::string_view text_of(const unsigned char (&bytes)[kSize]) {
  return {reinterpret_cast<const char*>(bytes), kSize - 1};
}

}  // namespace

std::span<const Asset> assets() {
  static const std::array kAssets{
${table}  };
  return kAssets;
}

std::string_view asset(std::string_view name) {
  for (const Asset& one : assets()) {
    if (one.name == name) {
      return one.content;
    }
  }
  return {};
}

}  // namespace turnstile::lab
// NOLINTEND
")
file(COPY_FILE ${OUT}.new ${OUT} ONLY_IF_DIFFERENT)
