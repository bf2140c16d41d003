#include "lab/picture.h"

#include <algorithm>
#include <array>
#include <bitset>
#include <cmath>
#include <cstdint>
#include <string_view>

#include <fmt/format.h>

#include "base/counted.h"
#include "base/utf8.h"
#include "lab/scenario.h"
#include "lab/sentence.h"

namespace turnstile::lab {
namespace {

constexpr double kWidth = 900;
constexpr double kMargin = 24;
constexpr double kPlotLeft = 104;
constexpr double kPlotRight = 872;
constexpr double kLaneHeight = 32;
constexpr double kLossHeight = 15;  // more, for a lane with words on a loss
constexpr double kBarHeight = 20;
// About the width of a letter of 11px text. Words that may not fit are left out.
constexpr double kLetterWidth = 6;
constexpr double kNsPerMs = 1e6;
constexpr double kNsInSecond = 1e9;

// The page's colours (page/style.css) and shapes (page/glyphs.js).
constexpr std::string_view kStyle = R"(<style>
text { font: 11px system-ui, "Segoe UI", "DejaVu Sans", sans-serif; fill: #14171b }
.title { font-size: 17px; font-weight: 650 } .run { font-size: 14px; font-weight: 650 }
.about, .sum, .lane { font-size: 12px; font-weight: 400 } .end { text-anchor: end } .mid { text-anchor: middle }
.pale { fill: #575c65 } .bad { fill: #bf0f2b; font-weight: 650 }
.paper { fill: #fdfcfa; stroke: #dedbd2 } .grid, .rail { stroke: #e6e3da } .rail { stroke-width: 2 }
.trying { stroke: #737985; stroke-width: 2; stroke-dasharray: 2 3 }
.waiting { fill: #f8e3b4; stroke: #b97700 } .waits { fill: #6b4500 }
.holding { fill: #1b57b4 } .holds { fill: #ffffff; font-weight: 600 }
.queue { stroke: #6a46b8; stroke-width: 2 } .stored { fill: #6a46b8 }
.acknowledged { fill: #fdfcfa; stroke: #6a46b8; stroke-width: 2 }
.committed { fill: #0a7350 } .lost { fill: #bf0f2b } .crashed { fill: #14171b }
.stroke { fill: none; stroke: #fdfcfa; stroke-width: 2; stroke-linecap: round; stroke-linejoin: round }
@media (prefers-color-scheme: dark) {
text { fill: #ece9e2 } .pale { fill: #a1a7af } .bad { fill: #ff6675 }
.paper { fill: #15191d; stroke: #2a3037 } .grid, .rail { stroke: #2a3037 }
.trying { stroke: #8d949e } .waiting { fill: #4a3a17; stroke: #e8b04b } .waits { fill: #f6d590 }
.holding { fill: #6ba4ff } .holds { fill: #0b1018 }
.queue { stroke: #b69cff } .stored { fill: #b69cff }
.acknowledged { fill: #15191d; stroke: #b69cff }
.committed { fill: #43cf9a } .lost { fill: #ff6675 } .crashed { fill: #f4f1ea }
.stroke { stroke: #15191d }
}
</style>
)";

constexpr std::string_view kGlyphs = R"(<defs>
<g id="committed"><circle r="7.5" class="committed"/><path class="stroke" d="M-3.4.2L-.8 2.8L3.6-2.6"/></g>
<g id="lost"><path class="lost" d="M-7.5-7.5h15v15h-15z"/><path class="stroke" d="M-3.5-3.5l7 7m0-7l-7 7"/></g>
<path id="acknowledged" class="acknowledged" d="M0-6.5L6.5 0L0 6.5L-6.5 0z"/>
<circle id="stored" class="stored" r="4"/>
<path id="crashed" class="crashed" d="M0-9l2.5 5l5-1.5l-1.5 5l5 2.5l-5 2.5l1.5 5l-5-1.5l-2.5 5l-2.5-5l-5 1.5l1.5-5l-5-2.5l5-2.5l-1.5-5l5 1.5z"/>
</defs>
)";

// What the legend explains, in its order.
enum class Sign : std::uint8_t {
  trying,
  waiting,
  holding,
  committed,
  lost,
  crashed,
  queue,
  stored,
  acknowledged,
};
constexpr std::array<std::string_view, 9> kMeanings{
    "trying",         "waiting for the lock", "holding the lock",     "committed", "lost",
    "process killed", "row in the queue",     "stored: safe on disk", "applied",
};

std::string text_at(double x, double y, std::string_view classes, std::string_view text) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" class=\"{}\">{}</text>\n", x, y, classes,
                     xml_text(text));
}

bool fits(std::string_view text, double width) {
  return static_cast<double>(text.size()) * kLetterWidth <= width;
}

bool is_in_queue(const Segment& segment) {
  return segment.kind == SegmentKind::waiting && segment.holder == "queue";
}

// The `stored` acknowledgements of a lane; the timeline shows only the final ones.
std::vector<std::int64_t> stored_ns(const Recording& recording, const std::string& process) {
  std::vector<std::int64_t> times;
  for (const Event& event : recording.events) {
    if (event.kind == EventKind::acknowledged && event.level == "stored" &&
        event.process == process) {
      times.push_back(event.time_ns - recording.run.began_ns);
    }
  }
  return times;
}

std::string durations_of(const Settings& settings, const Scenario& scenario) {
  std::string words;
  for (const Setting setting : scenario.adjustable) {
    if (info_of(setting).is_duration) {
      words += fmt::format(" {}: {}.", info_of(setting).title, value_of(settings, setting));
    }
  }
  return words;
}

std::string_view writers_in_words(Mode mode) {
  return mode == Mode::queued ? "only the consumer writes the database"
                              : "each process writes the database itself";
}

std::string waited_in_words(const Outcome& outcome) {
  std::int64_t ns = 0;
  for (const Lane& lane : outcome.timeline.lanes()) {
    for (const Segment& segment : lane.segments) {
      const bool is_wait = segment.kind == SegmentKind::waiting && !is_in_queue(segment);
      ns += is_wait ? segment.to_ns - segment.from_ns : 0;
    }
  }
  return ns == 0 ? "no process waited for the lock"
                 : fmt::format("processes waited {} for the lock",
                               in_words(static_cast<double>(ns) / kNsPerMs));
}

class Picture {
 public:
  explicit Picture(const std::vector<Outcome>& outcomes) : outcomes_(outcomes) {
    for (const Outcome& outcome : outcomes) {
      span_ns_ = std::max(span_ns_, outcome.timeline.now_ns());
    }
  }

  std::string draw() {
    const RunInfo& run = outcomes_.front().recording.run;
    const auto scenario = find_scenario(run.scenario);
    const std::string title = scenario ? std::string((*scenario)->title) : run.scenario;
    y_ = 38;
    body_ += text_at(kMargin, y_, "title", title);
    if (scenario) {
      draw_about(std::string((*scenario)->about) + durations_of(run.settings, **scenario));
    }
    std::string description;
    for (const Outcome& outcome : outcomes_) {
      y_ += 36;
      draw_run(outcome);
      description += fmt::format("{}{}: {}", description.empty() ? "" : " ",
                                 title_of(outcome.recording.run.mode), explain_end(outcome));
    }
    draw_axis();
    draw_legend();
    const double height = std::ceil(y_ + 22);
    return fmt::format(
               "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" "
               "height=\"{1}\" role=\"img\" aria-labelledby=\"title desc\">\n"
               "<title id=\"title\">{2}</title>\n<desc id=\"desc\">{3}</desc>\n",
               kWidth, height, xml_text(title), xml_text(description)) +
           std::string(kStyle) + std::string(kGlyphs) +
           fmt::format(
               "<rect class=\"paper\" x=\".5\" y=\".5\" width=\"{}\" height=\"{}\" "
               "rx=\"8\"/>\n",
               kWidth - 1, height - 1) +
           body_ + "</svg>\n";
  }

 private:
  [[nodiscard]] double x(std::int64_t ns) const {
    return kPlotLeft +
           static_cast<double>(ns) / static_cast<double>(span_ns_) * (kPlotRight - kPlotLeft);
  }

  // At most 10 steps of 1, 2 or 5 times a power of ten.
  [[nodiscard]] double step_s() const {
    constexpr double kMostSteps = 10;
    const double rough = static_cast<double>(span_ns_) / kNsInSecond / kMostSteps;
    const double power = std::pow(10, std::floor(std::log10(rough)));
    for (const double factor : {1.0, 2.0, 5.0}) {
      if (factor * power >= rough) {
        return factor * power;
      }
    }
    return 10 * power;
  }

  void mark(Sign sign, std::string_view glyph, double at, double middle) {
    seen_.set(static_cast<std::size_t>(sign));
    body_ += fmt::format("<use href=\"#{}\" x=\"{:.1f}\" y=\"{:.1f}\"/>\n", glyph, at, middle);
  }

  void line(std::string_view name, double left, double right, double middle) {
    body_ += fmt::format("<path class=\"{}\" d=\"M{:.1f} {:.1f}H{:.1f}\"/>\n", name, left, middle,
                         right);
  }

  void box(std::string_view name, double left, double right, double middle) {
    body_ += fmt::format(
        "<rect class=\"{}\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{}\"/>\n", name,
        left, middle - kBarHeight / 2, std::max(right - left, 1.0), kBarHeight);
  }

  void draw_about(const std::string& about) {
    constexpr std::size_t kLetters = 135;
    std::string_view rest = about;
    while (!rest.empty()) {
      std::size_t end = rest.size();
      if (end > kLetters) {
        end = std::min(rest.rfind(' ', kLetters), rest.size());
      }
      y_ += 19;
      body_ += text_at(kMargin, y_, "about pale", rest.substr(0, end));
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
  }

  void draw_run(const Outcome& outcome) {
    const Numbers& n = outcome.numbers;
    const Mode mode = outcome.recording.run.mode;
    body_ += fmt::format(
        "<text x=\"{:.1f}\" y=\"{:.1f}\" class=\"run\">{} <tspan class=\"about pale\" dx=\"6\">"
        "{}</tspan></text>\n",
        kMargin, y_, title_of(mode), writers_in_words(mode));
    const std::string lost =
        n.lost == 0 ? std::string() : fmt::format("{} lost", counted(n.lost, "row"));
    body_ += fmt::format(R"(<text x="{:.1f}" y="{:.1f}" class="sum end">)", kPlotRight, y_);
    if (!lost.empty()) {
      body_ += fmt::format("<tspan class=\"bad\">{}</tspan>, ", lost);
    }
    body_ += fmt::format("{} of {} committed; {}</text>\n", n.in_database, n.rows_wanted,
                         waited_in_words(outcome));
    y_ += 12;
    const std::size_t grid_at = body_.size();
    const double top = y_;
    for (const Lane& lane : outcome.timeline.lanes()) {
      draw_lane(outcome.recording, lane);
    }
    std::string grid;
    for (int i = 0; x(tick_ns(i)) <= kPlotRight + 0.5; ++i) {
      grid += fmt::format("<path class=\"grid\" d=\"M{:.1f} {:.1f}V{:.1f}\"/>\n", x(tick_ns(i)),
                          top, y_);
    }
    body_.insert(grid_at, grid);
  }

  [[nodiscard]] std::int64_t tick_ns(int i) const {
    return static_cast<std::int64_t>(std::llround(i * step_s() * kNsInSecond));
  }

  void draw_lane(const Recording& recording, const Lane& lane) {
    const double middle = y_ + kLaneHeight / 2;
    const auto last = std::find_if(recording.events.rbegin(), recording.events.rend(),
                                   [&](const Event& e) { return e.process == lane.info.name; });
    body_ += text_at(kMargin, middle + 4, "lane", lane.info.name);
    if (last != recording.events.rend()) {
      line("rail", kPlotLeft, x(last->time_ns - recording.run.began_ns), middle);
    }
    for (const Segment& segment : lane.segments) {
      draw_bar(segment, middle);
    }
    for (const std::int64_t ns : stored_ns(recording, lane.info.name)) {
      mark(Sign::stored, "stored", x(ns), middle);
    }
    bool has_loss = false;
    for (const Segment& segment : lane.segments) {
      draw_moment(segment, middle);
      has_loss = has_loss || segment.kind == SegmentKind::lost;
    }
    y_ += kLaneHeight + (has_loss ? kLossHeight : 0);
  }

  void draw_bar(const Segment& segment, double middle) {
    constexpr double kGlyphRoom = 12;  // for the glyph of the piece before
    constexpr double kRightRoom = 10;
    constexpr double kEdge = 6;  // of a bar that seldom has a glyph at its ends
    const double left = x(segment.from_ns);
    const double right = x(segment.to_ns);
    const double room = right - left - kGlyphRoom - kRightRoom;
    const double text_left = left + kGlyphRoom;
    if (segment.kind == SegmentKind::trying && right - left >= 1) {
      seen_.set(static_cast<std::size_t>(Sign::trying));
      line("trying", left, right, middle);
    } else if (is_in_queue(segment)) {
      seen_.set(static_cast<std::size_t>(Sign::queue));
      line("queue", left, right, middle);
      if (fits(segment.row, room)) {
        body_ += text_at(text_left, middle - 5, "pale", segment.row);
      }
    } else if (segment.kind == SegmentKind::waiting) {
      seen_.set(static_cast<std::size_t>(Sign::waiting));
      box("waiting", left, right, middle);
      const std::string words =
          "waits for " + (segment.holder.empty() ? "the lock" : segment.holder);
      if (fits(words, right - left - 2 * kEdge)) {
        body_ += text_at(left + kEdge, middle + 4, "waits", words);
      }
    } else if (segment.kind == SegmentKind::holding) {
      seen_.set(static_cast<std::size_t>(Sign::holding));
      box("holding", left, right, middle);
      if (fits(segment.row, room)) {
        body_ += text_at(text_left, middle + 4, "holds", segment.row);
      }
    }
  }

  void draw_moment(const Segment& segment, double middle) {
    const double at = x(segment.to_ns);
    switch (segment.kind) {
      case SegmentKind::committed:
        return mark(Sign::committed, "committed", at, middle);
      case SegmentKind::acknowledged:
        return mark(Sign::acknowledged, "acknowledged", at, middle);
      case SegmentKind::crashed:
        return mark(Sign::crashed, "crashed", at, middle);
      case SegmentKind::lost:
        mark(Sign::lost, "lost", at, middle);
        body_ += text_at(at - 8, middle + 23, "bad",
                         fmt::format("{} lost: {}", segment.row, segment.error));
        return;
      case SegmentKind::trying:
      case SegmentKind::waiting:
      case SegmentKind::holding:
        return;
    }
  }

  void draw_axis() {
    y_ += 16;
    for (int i = 0; x(tick_ns(i)) <= kPlotRight + 0.5; ++i) {
      const double seconds = i * step_s();
      body_ +=
          text_at(x(tick_ns(i)), y_, "pale mid", i == 0 ? "0" : fmt::format("{:g} s", seconds));
    }
  }

  void draw_legend() {
    constexpr double kGlyphWidth = 24;
    constexpr double kSpace = 18;
    double left = kMargin;
    y_ += 30;
    for (std::size_t i = 0; i < kMeanings.size(); ++i) {
      if (!seen_.test(i)) {
        continue;
      }
      const double width =
          kGlyphWidth + static_cast<double>(kMeanings.at(i).size()) * kLetterWidth + kSpace;
      if (left + width - kSpace > kWidth - kMargin) {
        left = kMargin;
        y_ += 22;
      }
      draw_sign(static_cast<Sign>(i), left, y_ - 4);
      body_ += text_at(left + kGlyphWidth, y_, "pale", kMeanings.at(i));
      left += width;
    }
  }

  void draw_sign(Sign sign, double left, double middle) {
    constexpr double kLong = 18;
    const double center = left + kLong / 2;
    switch (sign) {
      case Sign::trying:
        return line("trying", left, left + kLong, middle);
      case Sign::waiting:
        return small_box("waiting", left, middle);
      case Sign::holding:
        return small_box("holding", left, middle);
      case Sign::queue:
        return line("queue", left, left + kLong, middle);
      case Sign::committed:
        return mark(sign, "committed", center, middle);
      case Sign::lost:
        return mark(sign, "lost", center, middle);
      case Sign::crashed:
        return mark(sign, "crashed", center, middle);
      case Sign::stored:
        return mark(sign, "stored", center, middle);
      case Sign::acknowledged:
        return mark(sign, "acknowledged", center, middle);
    }
  }

  void small_box(std::string_view name, double left, double middle) {
    body_ +=
        fmt::format("<rect class=\"{}\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"18\" height=\"12\"/>\n",
                    name, left, middle - 6);
  }

  const std::vector<Outcome>& outcomes_;
  std::int64_t span_ns_ = 1;
  double y_ = 0;  // the lowest line that is drawn
  std::string body_;
  std::bitset<kMeanings.size()> seen_;
};

}  // namespace

std::string picture_svg(const std::vector<Outcome>& outcomes) {
  return Picture(outcomes).draw();
}

}  // namespace turnstile::lab
