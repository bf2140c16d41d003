#include "flags/config.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <CLI/CLI.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "flags/options.h"
#include "tests/flags/environment.h"

namespace turnstile {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// A small program of the real one's shape: a flag that all have, one that two have with different
// forms, and a nested subcommand with a positional argument.
class Config : public ::testing::Test {
 public:
  ~Config() override { std::filesystem::remove(path_); }

 protected:
  Config() {
    app_.require_subcommand(1);
    for (auto* command : {broker_, consumer_}) {
      add_config_option(*command);
      add_db_option(*command, db_);
      command->callback([this] { exit_code_ = 7; });
    }
    add_log_options(*consumer_, log_);
    add_duration_option(*broker_, "--journal", broker_journal_, "");
    csv_->add_option("file", file_)->required();
    csv_->add_option("--journal", csv_journal_)->check(CLI::IsMember({"wal", "delete"}));
    csv_->add_option("--limit", limit_);
    csv_->add_flag("--create", create_);
    add_db_option(*csv_, db_);
    add_config_option(*csv_);
    csv_->callback([this] { exit_code_ = 7; });
  }

  std::string write(const std::string& text) {
    std::ofstream(path_, std::ios::binary) << text;
    return path_;
  }

  int run(const std::vector<std::string>& arguments) {
    std::vector<const char*> argv{"turnstile"};
    for (const std::string& argument : arguments) {
      argv.push_back(argument.c_str());
    }
    ::testing::internal::CaptureStderr();
    ::testing::internal::CaptureStdout();
    const int code = run_command_line(app_, static_cast<int>(argv.size()), argv.data(), exit_code_);
    stdout_ = ::testing::internal::GetCapturedStdout();
    stderr_ = ::testing::internal::GetCapturedStderr();
    return code;
  }

  // Not even a variable that the file set may reach the next test.
  Environment clean_{{"TURNSTILE_DB", ""},      {"TURNSTILE_CONFIG", ""},
                     {"TURNSTILE_QUIET", ""},   {"TURNSTILE_LOG_LEVEL", ""},
                     {"TURNSTILE_JOURNAL", ""}, {"TURNSTILE_LIMIT", ""},
                     {"TURNSTILE_CREATE", ""},  {"TURNSTILE_TYPO", ""}};
  CLI::App app_{"test program"};
  CLI::App* broker_ = app_.add_subcommand("broker");
  CLI::App* consumer_ = app_.add_subcommand("consumer");
  CLI::App* produce_ = app_.add_subcommand("produce")->require_subcommand(1);
  CLI::App* csv_ = produce_->add_subcommand("csv");
  std::string path_ =
      ::testing::TempDir() + "turnstile_config_" + std::to_string(getpid()) + ".toml";
  std::string db_ = "default.db";
  std::string file_;
  std::string csv_journal_;
  int limit_ = 0;
  bool create_ = false;
  std::chrono::milliseconds broker_journal_{1};
  LogOptions log_;
  int exit_code_ = 0;
  std::string stdout_;
  std::string stderr_;
};

TEST_F(Config, WithoutAnySettingTheDefaultStays) {
  EXPECT_EQ(run({"consumer"}), 7);
  EXPECT_EQ(db_, "default.db");
}

TEST_F(Config, TheFileBeatsTheDefault) {
  EXPECT_EQ(run({"consumer", "--config", write("db = \"file.db\"\n")}), 7);
  EXPECT_EQ(db_, "file.db");
}

TEST_F(Config, TheEnvironmentBeatsTheDefault) {
  const Environment environment{{"TURNSTILE_DB", "environment.db"}};
  EXPECT_EQ(run({"consumer"}), 7);
  EXPECT_EQ(db_, "environment.db");
}

TEST_F(Config, TheFlagBeatsTheDefault) {
  EXPECT_EQ(run({"consumer", "--db", "flag.db"}), 7);
  EXPECT_EQ(db_, "flag.db");
}

TEST_F(Config, TheEnvironmentBeatsTheFile) {
  const Environment environment{{"TURNSTILE_DB", "environment.db"}};
  EXPECT_EQ(run({"consumer", "--config", write("[consumer]\ndb = \"file.db\"\n")}), 7);
  EXPECT_EQ(db_, "environment.db");
}

TEST_F(Config, TheFlagBeatsTheEnvironment) {
  const Environment environment{{"TURNSTILE_DB", "environment.db"}};
  EXPECT_EQ(run({"consumer", "--db", "flag.db"}), 7);
  EXPECT_EQ(db_, "flag.db");
}

TEST_F(Config, TheFlagBeatsTheFile) {
  EXPECT_EQ(run({"consumer", "--db=flag.db", "--config", write("db = \"file.db\"\n")}), 7);
  EXPECT_EQ(db_, "flag.db");
}

TEST_F(Config, TheFlagBeatsBothOthers) {
  const Environment environment{{"TURNSTILE_DB", "environment.db"}};
  EXPECT_EQ(run({"consumer", "--db", "flag.db", "--config", write("db = \"file.db\"\n")}), 7);
  EXPECT_EQ(db_, "flag.db");
}

TEST_F(Config, AnEmptyVariableLeavesTheFileInForce) {
  setenv("TURNSTILE_DB", "", 1);
  EXPECT_EQ(run({"consumer", "--config", write("db = \"file.db\"\n")}), 7);
  EXPECT_EQ(db_, "file.db");
}

TEST_F(Config, TheFileCanBeNamedInTheEnvironment) {
  const Environment environment{{"TURNSTILE_CONFIG", write("db = \"file.db\"\n")}};
  EXPECT_EQ(run({"consumer"}), 7);
  EXPECT_EQ(db_, "file.db");
}

TEST_F(Config, TheFileNamedByTheFlagBeatsTheOneInTheEnvironment) {
  const Environment environment{{"TURNSTILE_CONFIG", "/nowhere.toml"}};
  EXPECT_EQ(run({"consumer", "--config=" + write("db = \"file.db\"\n")}), 7);
  EXPECT_EQ(db_, "file.db");
}

TEST_F(Config, ASectionReachesItsSubcommandOnly) {
  write("[broker]\ndb = \"broker.db\"\njournal = 5s\n");
  EXPECT_EQ(run({"consumer", "--config", path_}), 7);
  EXPECT_EQ(db_, "default.db");
  EXPECT_EQ(run({"broker", "--config", path_}), 7);
  EXPECT_EQ(db_, "broker.db");
  EXPECT_EQ(broker_journal_, std::chrono::seconds(5));
}

TEST_F(Config, ASectionBeatsWhatStandsAboveIt) {
  write("db = \"all.db\"\n[consumer]\ndb = \"consumer.db\"\n");
  EXPECT_EQ(run({"consumer", "--config", path_}), 7);
  EXPECT_EQ(db_, "consumer.db");
}

TEST_F(Config, TheDeeperSectionWinsWhereverItStands) {
  write("[produce.csv]\ndb = \"csv.db\"\n[produce]\ndb = \"produce.db\"\n");
  EXPECT_EQ(run({"produce", "csv", "rows.csv", "--config", path_}), 7);
  EXPECT_EQ(db_, "csv.db");
  EXPECT_EQ(file_, "rows.csv");
}

TEST_F(Config, AnOuterSectionReachesTheSubcommandsBelowIt) {
  EXPECT_EQ(run({"produce", "csv", "rows.csv", "--config", write("[produce]\ndb = \"p.db\"\n")}),
            7);
  EXPECT_EQ(db_, "p.db");
}

TEST_F(Config, FlagsWithoutAValueAreSwitchedOnAndOff) {
  EXPECT_EQ(run({"consumer", "--config", write("quiet = true\nlog-level = debug\n")}), 7);
  EXPECT_TRUE(log_.quiet);
  EXPECT_EQ(log_.level, LogLevel::debug);
  unsetenv("TURNSTILE_QUIET");
  EXPECT_EQ(run({"consumer", "--config", write("quiet = false\n")}), 7);
  EXPECT_FALSE(log_.quiet);
}

TEST_F(Config, CommentsBlankLinesQuotesAndWindowsLineEndsAreTaken) {
  write("\xEF\xBB\xBF# a comment\r\n\r\n  db = 'a b, c.db'   # another\r\n");
  EXPECT_EQ(run({"consumer", "--config", path_}), 7);
  EXPECT_EQ(db_, "a b, c.db");
}

TEST_F(Config, AnUnknownKeyIsNamedWithItsFile) {
  for (const auto* text : {"dbb = \"x\"\n", "[consumer]\njournal = 5s\n", "consumer.file = 1\n",
                           "help = true\n", "config = \"x\"\n", "not a setting\n", "[consumer\n"}) {
    EXPECT_EQ(run({"consumer", "--config", write(text)}), 2) << text;
    EXPECT_THAT(stderr_, AllOf(HasSubstr(path_), HasSubstr("which is no flag there"))) << text;
  }
  EXPECT_EQ(run({"consumer", "--config", write("[broker]\nquiet = 1\n")}), 2);
  EXPECT_THAT(stderr_, HasSubstr("'broker.quiet'"));
  EXPECT_EQ(db_, "default.db");
}

TEST_F(Config, AnUnknownSectionIsNamedWithItsFile) {
  EXPECT_EQ(run({"consumer", "--config", write("[consumre]\ndb = \"x\"\n")}), 2);
  EXPECT_THAT(stderr_, AllOf(HasSubstr(path_), HasSubstr("[consumre]"), HasSubstr("hint: ")));
  EXPECT_EQ(run({"consumer", "--config", write("[produce.pest]\n")}), 2);
  EXPECT_THAT(stderr_, HasSubstr("[produce.pest]"));
}

TEST_F(Config, AKeyWithoutExactlyOneValueIsRefused) {
  for (const auto* text : {"db = a b\n", "db = [a, b]\n", "db = []\n", "db = a\ndb = b\n",
                           "[consumer]\ndb = a\n[broker]\ndb = b\n[consumer]\ndb = c\n"}) {
    EXPECT_EQ(run({"consumer", "--config", write(text)}), 2) << text;
    EXPECT_THAT(stderr_, HasSubstr("exactly one value")) << text;
  }
  EXPECT_EQ(run({"consumer", "--config", write("db = \"\"\n")}), 2);
  EXPECT_THAT(stderr_, HasSubstr("gives 'db' no value"));
  EXPECT_EQ(run({"consumer", "--config", write("db = \"a#b\"\n")}), 2);
  EXPECT_THAT(stderr_, HasSubstr("a quote that does not end"));
}

TEST_F(Config, AFileThatCannotBeReadIsNamed) {
  for (const std::string& path :
       {std::string("/nowhere/turnstile.toml"), std::string("/"), std::string()}) {
    EXPECT_EQ(run({"consumer", "--config=" + path}), 2) << path;
    EXPECT_THAT(stderr_, AllOf(HasSubstr("config"), HasSubstr(path)));
  }
}

TEST_F(Config, AFileThatIsNoTextIsRefused) {
  EXPECT_EQ(run({"consumer", "--config", write(std::string("db = \0x\n", 8))}), 2);
  EXPECT_THAT(stderr_, HasSubstr("NUL byte"));
  EXPECT_EQ(run({"consumer", "--config", write(std::string((1U << 20U) + 1, '#'))}), 2);
  EXPECT_THAT(stderr_, HasSubstr("more than 1 MiB"));
}

TEST_F(Config, ABadValueSaysWhereItComesFrom) {
  EXPECT_EQ(run({"broker", "--config", write("journal = soon\n")}), 2);
  EXPECT_THAT(stderr_, AllOf(HasSubstr("--journal: 'soon'"), HasSubstr("'journal' in " + path_)));
  const Environment environment{{"TURNSTILE_JOURNAL", "later"}};
  EXPECT_EQ(run({"broker"}), 2);
  EXPECT_THAT(stderr_,
              AllOf(HasSubstr("'later'"), HasSubstr("TURNSTILE_JOURNAL in the environment")));
}

TEST_F(Config, AVariableForAnotherSubcommandIsLeftAlone) {
  const Environment environment{{"TURNSTILE_JOURNAL", "5s"}};  // csv's --journal takes no time
  EXPECT_EQ(run({"broker"}), 7);
  EXPECT_EQ(broker_journal_, std::chrono::seconds(5));
  EXPECT_EQ(run({"consumer"}), 7);
  EXPECT_EQ(stderr_, "");
}

TEST_F(Config, WhatASingleRunAsksForHasNoVariable) {
  const Environment environment{{"TURNSTILE_LIMIT", "1"}, {"TURNSTILE_CREATE", "1"}};
  EXPECT_EQ(run({"produce", "csv", "x"}), 7);
  EXPECT_EQ(limit_, 0);
  EXPECT_FALSE(create_);
  EXPECT_THAT(stderr_, AllOf(HasSubstr("TURNSTILE_LIMIT in the environment is ignored: --limit is "
                                       "given on the command line"),
                             HasSubstr("TURNSTILE_CREATE")));
}

TEST_F(Config, WhatASingleRunAsksForMayBeInTheFile) {
  EXPECT_EQ(run({"produce", "csv", "x", "--config", write("[produce.csv]\nlimit = 3\n")}), 7);
  EXPECT_EQ(limit_, 3);
  EXPECT_EQ(run({"produce", "csv", "x", "--limit", "4", "--config", path_}), 7);
  EXPECT_EQ(limit_, 4);
  EXPECT_EQ(run({"produce", "csv", "x", "--config", write("[produce.csv]\nlimit = many\n")}), 2);
  EXPECT_THAT(stderr_, HasSubstr("'limit' in " + path_));
}

TEST_F(Config, AnUnknownVariableIsWarnedAboutOnce) {
  const Environment environment{{"TURNSTILE_TYPO", "1"}, {"TURNSTILE_SEED", "1"}};
  EXPECT_EQ(run({"consumer"}), 7);
  EXPECT_EQ(stderr_,
            "turnstile: warning: TURNSTILE_TYPO in the environment is ignored: no setting has that "
            "name\n");
  EXPECT_EQ(run({"consumer"}), 7);  // such as a process that the first one starts
  EXPECT_EQ(stderr_, "");
  const Environment again{{"TURNSTILE_TYPO", "1"}};
  EXPECT_EQ(run({"consumer", "--quiet"}), 7);
  EXPECT_EQ(stderr_, "");
}

TEST_F(Config, AnEmptyValueIsWrongUsage) {
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{"consumer", "--db", ""},
                                             {"consumer", "--db="},
                                             {"consumer", "--log-level", ""},
                                             {"produce", "csv", ""}}) {
    EXPECT_EQ(run(arguments), 2) << arguments.back();
    EXPECT_EQ(db_, "default.db");
  }
}

TEST_F(Config, WrongUsageExitsWith2AndPointsToTheHelp) {
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{},
                                             {"nonsense"},
                                             {"consumer", "--nonsense"},
                                             {"consumer", "--db"},
                                             {"produce", "csv"}}) {
    EXPECT_EQ(run(arguments), 2);
    EXPECT_THAT(stderr_, AllOf(HasSubstr("turnstile: "), HasSubstr("--help")));
    EXPECT_EQ(stdout_, "");
  }
}

TEST_F(Config, AnUnknownSubcommandOrFlagIsNamed) {
  EXPECT_EQ(run({"consumre"}), 2);
  EXPECT_THAT(stderr_, HasSubstr("'consumre' is no subcommand of turnstile\n"));
  EXPECT_EQ(run({"--nonsense"}), 2);
  EXPECT_THAT(stderr_, HasSubstr("'--nonsense' is no flag of turnstile\n"));
  EXPECT_EQ(run({"produce", "pest"}), 2);
  EXPECT_THAT(stderr_, HasSubstr("'pest' is no subcommand of turnstile produce\n"));
}

TEST_F(Config, HelpExitsWith0AndNamesTheVariables) {
  EXPECT_EQ(run({"consumer", "--help"}), 0);
  EXPECT_THAT(stdout_, AllOf(HasSubstr("--log-level"), HasSubstr("TURNSTILE_LOG_LEVEL")));
  EXPECT_EQ(stderr_, "");
}

TEST_F(Config, ValuesThatLookLikeSubcommandsAreNotTakenForThem) {
  const std::vector<std::string> arguments{"consumer", "--db", "broker", "-", "--", "produce"};
  const Invocation invocation = find_invocation(app_, arguments);
  EXPECT_THAT(invocation.commands, ::testing::ElementsAre(&app_, consumer_));
  EXPECT_THAT(invocation.given_flags, ::testing::ElementsAre("db"));
}

}  // namespace
}  // namespace turnstile
