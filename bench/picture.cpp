#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>

#include <fmt/format.h>

#include "base/utf8.h"
#include "bench/report.h"

namespace turnstile::bench {
namespace {

constexpr double kWidth = 1080;
constexpr double kPlotLeft = 430;
constexpr double kPlotRight = 860;
constexpr double kRowHeight = 34;
constexpr double kBarHeight = 16;
constexpr double kTop = 96;
constexpr double kGap = 74;  // between the two charts

constexpr const char* kReached = "#1f77a4";
constexpr const char* kMissed = "#d1701c";
constexpr const char* kDark = "#1d2733";
constexpr const char* kPale = "#66717d";
constexpr const char* kGrid = "#dfe4e8";

// A line of text; `anchor`: SVG's start, middle or end.
std::string text_at(double x, double y, std::string_view text, std::string_view anchor,
                    const char* color, int size, bool bold = false) {
  return fmt::format(
      "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\" fill=\"{}\" "
      "font-size=\"{}\"{}>{}</text>\n",
      x, y, anchor, color, size, bold ? " font-weight=\"600\"" : "", xml_text(text));
}

std::string vertical(double x, double top, double bottom, const char* color, double width) {
  return fmt::format(
      "<line x1=\"{0:.1f}\" y1=\"{1:.1f}\" x2=\"{0:.1f}\" y2=\"{2:.1f}\" stroke=\"{3}\" "
      "stroke-width=\"{4}\"/>\n",
      x, top, bottom, color, width);
}

// One bar from `zero` to `middle`, with a line from `low` to `high` and a tick at `target`.
struct Bar {
  int line = 0;
  std::string name;
  std::string detail;             // below the name
  std::string value = "skipped";  // right of the bar
  double zero = 0;
  double middle = 0;
  double low = 0;
  double high = 0;
  std::optional<double> target;
  bool met = false;
  bool measured = true;
};

std::string drawn(const Bar& bar, double y) {
  const double center = y + kRowHeight / 2;
  std::string svg = text_at(kPlotLeft - 14, center - 1, bar.name, "end", kDark, 13);
  svg += text_at(44, center + 4, std::to_string(bar.line), "end", kPale, 13, true);
  svg += text_at(kPlotLeft - 14, center + 12, bar.detail, "end", kPale, 11);
  if (!bar.measured) {
    return svg + text_at(kPlotRight + 14, center + 4, bar.value, "start", kPale, 12);
  }
  const char* color = bar.met ? kReached : kMissed;
  svg += fmt::format(
      "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{}\" rx=\"2\" fill=\"{}\"/>\n",
      std::min(bar.zero, bar.middle), center - kBarHeight / 2,
      std::max(std::abs(bar.middle - bar.zero), 1.5), kBarHeight, color);
  svg += fmt::format(
      "<line x1=\"{0:.1f}\" y1=\"{2:.1f}\" x2=\"{1:.1f}\" y2=\"{2:.1f}\" stroke=\"{3}\" "
      "stroke-width=\"1.5\"/>\n",
      bar.low, bar.high, center, kDark);
  svg += vertical(bar.low, center - 4, center + 4, kDark, 1.5);
  svg += vertical(bar.high, center - 4, center + 4, kDark, 1.5);
  if (bar.target) {
    svg += fmt::format("<path d=\"M {0:.1f} {1:.1f} l -5 -7 l 10 0 z\" fill=\"{2}\"/>\n",
                       *bar.target, center - kBarHeight / 2 + 1, kDark);
  }
  return svg + text_at(kPlotRight + 14, center + 4, bar.value, "start", kDark, 13, true);
}

// How many times as fast as the other side.
double advantage(const Claim& claim, double ratio) {
  return claim.more_is_better ? ratio : 1 / ratio;
}

std::string verdict(const Figure& figure) {
  return figure.met() ? "" : " (missed)";
}

class Speedups {
 public:
  explicit Speedups(const std::vector<const Figure*>& figures) {
    for (const Figure* figure : figures) {
      cover(advantage(figure->claim(), figure->claim().bound));
      if (figure->measured()) {
        cover(advantage(figure->claim(), figure->ratio()->min));
        cover(advantage(figure->claim(), figure->ratio()->max));
      }
    }
  }

  [[nodiscard]] double x(double times) const {
    const double share = (std::log(times) - std::log(low_)) / (std::log(high_) - std::log(low_));
    return kPlotLeft + share * (kPlotRight - kPlotLeft);
  }

  [[nodiscard]] std::string axis(double top, double bottom) const {
    std::string svg;
    for (const double times : {0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0}) {
      if (times >= low_ && times <= high_) {
        svg += vertical(x(times), top, bottom, times == 1 ? kDark : kGrid, times == 1 ? 1.5 : 1);
        svg += text_at(x(times), top - 6, fmt::format("{}×", times), "middle", kPale, 11);
      }
    }
    return svg;
  }

  [[nodiscard]] Bar bar(const Figure& figure) const {
    const Claim& claim = figure.claim();
    Bar bar;
    bar.line = claim.line;
    bar.name = claim.name;
    bar.detail = fmt::format("against {}", claim.theirs);
    bar.measured = figure.measured();
    if (figure.measured()) {
      const Spread ratio = *figure.ratio();
      bar.zero = x(1);
      bar.middle = x(advantage(claim, ratio.median));
      bar.low = x(advantage(claim, ratio.min));
      bar.high = x(advantage(claim, ratio.max));
      bar.target = x(advantage(claim, claim.bound));
      bar.met = figure.met();
      bar.value =
          fmt::format("{}×{}", short_number(advantage(claim, ratio.median)), verdict(figure));
    }
    return bar;
  }

 private:
  void cover(double times) {
    low_ = std::min(low_, times / 1.2);
    high_ = std::max(high_, times * 1.2);
  }

  double low_ = 0.4;
  double high_ = 4;
};

// A bar for the share of a limit that is used: 100 % is at two thirds of the width.
Bar limit_bar(const Figure& figure) {
  constexpr double kWhole = kPlotLeft + (kPlotRight - kPlotLeft) * 2 / 3;
  const Claim& claim = figure.claim();
  Bar bar;
  bar.line = claim.line;
  bar.name = claim.name;
  bar.detail = fmt::format("{} {} {}", claim.sense == Sense::at_most ? "at most" : "at least",
                           claim.bound, claim.unit);
  bar.measured = figure.measured();
  if (!figure.measured()) {
    return bar;
  }
  const auto place = [&](double value) {
    double share = 0;
    if (claim.bound != 0) {
      share = value / claim.bound;
    } else if (value > 0) {
      share = 2;
    }
    return std::min(kPlotLeft + share * (kWhole - kPlotLeft), kPlotRight);
  };
  const Spread ours = figure.ours();
  const double shown = claim.judged == Judged::worst ? ours.max : ours.median;
  bar.zero = kPlotLeft;
  bar.middle = place(shown);
  bar.low = place(ours.min);
  bar.high = place(ours.max);
  bar.target = kWhole;
  bar.met = figure.met();
  bar.value = fmt::format("{} {}{}", short_number(shown), claim.unit, verdict(figure));
  return bar;
}

}  // namespace

std::string as_picture(const std::vector<Figure>& figures, const Circumstances& with) {
  std::vector<const Figure*> ratios;
  std::vector<const Figure*> limits;
  for (const auto& figure : figures) {
    (figure.claim().judged == Judged::ratio ? ratios : limits).push_back(&figure);
  }
  std::string body;
  double y = kTop;
  const auto chart = [&](const std::vector<const Figure*>& shown, const std::string& title,
                         const std::function<std::string(double, double)>& axis,
                         const std::function<Bar(const Figure&)>& bar) {
    if (shown.empty()) {
      return;
    }
    const double bottom = y + kRowHeight * static_cast<double>(shown.size());
    body += text_at(24, y - 26, title, "start", kDark, 15, true);
    body += axis(y, bottom);
    for (const Figure* figure : shown) {
      body += drawn(bar(*figure), y);
      y += kRowHeight;
    }
    y += kGap;
  };
  const Speedups speedups(ratios);
  chart(
      ratios, "Times as fast as the other side, in the same round (further right is better)",
      [&](double top, double bottom) { return speedups.axis(top, bottom); },
      [&](const Figure& figure) { return speedups.bar(figure); });
  chart(
      limits, "Compared with a limit", [](double, double) { return std::string(); }, limit_bar);

  const double height = y - kGap + 62;
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1:.0f}\" width=\"{0}\" "
      "height=\"{1:.0f}\" font-family=\"system-ui, 'DejaVu Sans', sans-serif\">\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n",
      kWidth, height);
  svg += text_at(24, 38, "Turnstile: measured against what people use today", "start", kDark, 21,
                 true);
  svg += body;
  svg +=
      text_at(24, height - 44,
              "Bars: median of the rounds. Lines: least to greatest. Triangles: the goal; orange "
              "bars miss it.",
              "start", kPale, 12);
  svg += text_at(24, height - 27, with.work, "start", kPale, 12);
  svg += text_at(24, height - 10, with.machine, "start", kPale, 12);
  return svg + "</svg>\n";
}

}  // namespace turnstile::bench
