#include "producers/pets.h"

#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/client/fake_broker.h"
#include "tests/support/folder.h"

namespace turnstile {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

std::vector<std::string> names_of(const std::vector<Pet>& pets) {
  std::vector<std::string> names;
  for (const auto& pet : pets) {
    names.push_back(pet.name);
  }
  return names;
}

class PetsTest : public ::testing::Test {
 protected:
  Report insert(const std::string& process) {
    ProducerOptions options;
    options.id = {"p"};
    options.batch_rows = 1;
    options.clock = broker_.clock();
    options.coarse_clock = options.clock;
    options.interrupted = [this] { return stopping_.now(); };
    Producer producer(broker_, std::move(options));
    return insert_pets(producer, process, pets_of(process, lab_pets()), stopping_,
                       {[this](const std::string& line) { info_.push_back(line); },
                        [this](const std::string& line) { errors_.push_back(line); }});
  }

  FakeBroker broker_;
  int stops_ = 0;
  Stopping stopping_{[this] { return stops_; }};
  std::vector<std::string> info_;
  std::vector<std::string> errors_;
};

TEST_F(PetsTest, EachProcessHasItsTwoPetsInOrder) {
  EXPECT_THAT(names_of(pets_of("P1", lab_pets())), ElementsAre("Ace", "Buddy"));
  EXPECT_THAT(names_of(pets_of("P2", lab_pets())), ElementsAre("Cooper", "Dingo"));
  EXPECT_THAT(names_of(pets_of("P3", lab_pets())), ElementsAre("Emma", "Felix"));
}

TEST_F(PetsTest, OtherPetsAreDividedInOrderAndNoneIsOmitted) {
  const std::vector<Pet> pets{{"a", ""}, {"b", ""}, {"c", ""}, {"d", ""}, {"e", ""}};
  EXPECT_THAT(names_of(pets_of("P1", pets)), ElementsAre("a", "b"));
  EXPECT_THAT(names_of(pets_of("P2", pets)), ElementsAre("c", "d"));
  EXPECT_THAT(names_of(pets_of("P3", pets)), ElementsAre("e"));
  EXPECT_THAT(pets_of("P3", {}), IsEmpty());
}

TEST_F(PetsTest, PetsAreReadByTheNamesOfTheirColumns) {
  const Folder folder;
  const auto pets = read_pets(folder.file("pets.csv", "breed,age,name\nDog,3,Rex\nCat,1,Tom\n"));
  ASSERT_TRUE(pets);
  ASSERT_EQ(pets->size(), 2U);
  EXPECT_EQ((*pets)[0].name, "Rex");
  EXPECT_EQ((*pets)[1].breed, "Cat");
}

TEST_F(PetsTest, FileWithoutTheColumnsOrWithABadRowIsAnError) {
  const Folder folder;
  const auto columns = read_pets(folder.file("a.csv", "name,age\nRex,3\n"));
  ASSERT_FALSE(columns);
  EXPECT_THAT(columns.error().what, HasSubstr("has no column 'breed'"));
  const auto row = read_pets(folder.file("b.csv", "name,breed\nRex\n"));
  ASSERT_FALSE(row);
  EXPECT_THAT(row.error().what, HasSubstr("b.csv:2: 1 field, the header has 2"));
  EXPECT_FALSE(read_pets((folder.path() / "none.csv").string()));
}

TEST_F(PetsTest, EachPetIsABatchAndLoggedInTheLabsWords) {
  const Report report = insert("P3");
  const auto batches = broker_.all<Batch>();
  ASSERT_EQ(batches.size(), 2U);
  EXPECT_EQ(batches[0].header.rows, 1U);
  EXPECT_EQ(batches[0].header.table, "pets");
  ASSERT_EQ(info_.size(), 4U);
  EXPECT_EQ(info_[0], "Called insert_pet() with process=P3, name=Emma, breed=Rabbit.");
  EXPECT_THAT(info_[1], StartsWith("P3 inserted pet Emma, committed after "));
  EXPECT_EQ(info_[2], "Called insert_pet() with process=P3, name=Felix, breed=Cat.");
  EXPECT_THAT(errors_, IsEmpty());
  EXPECT_EQ(report.producer, "P3");
  EXPECT_EQ(report.summary.applied, 2U);
  EXPECT_EQ(exit_code_of(report), 0);
  EXPECT_EQ(broker_.all<Bye>().size(), 1U);
}

TEST_F(PetsTest, LockedInsertIsLoggedAndTheNextPetIsTried) {
  broker_.rows = FakeBroker::Rows::ignored;
  broker_.on_wait = [this] {
    const auto last = broker_.all<Batch>().back().header.last();
    if (last == Sequence{1}) {
      broker_.to_producer.push_back(Applied{last, 1, {{last, "database is locked"}}});
    } else {
      broker_.to_producer.push_back(Applied{last, 0, {}});
    }
  };
  const Report report = insert("P1");
  ASSERT_EQ(errors_.size(), 2U);
  EXPECT_EQ(errors_[0], "ERROR while P1 inserting pet Ace: database is locked");
  EXPECT_EQ(errors_[1], "1 of 2 pets of P1 were not inserted: Ace");
  EXPECT_EQ(report.summary.applied, 1U);
  EXPECT_EQ(report.summary.dead_count, 1U);
  EXPECT_EQ(exit_code_of(report), 1);
}

TEST_F(PetsTest, InterruptWaitsForTheCurrentPetAndTriesNoOther) {
  broker_.rows = FakeBroker::Rows::ignored;
  broker_.on_wait = [this] {
    stops_ = 1;
    if (broker_.now.time_since_epoch() > std::chrono::milliseconds(500)) {
      broker_.to_producer.push_back(Applied{Sequence{1}, 0, {}});
    }
  };
  const Report report = insert("P1");
  EXPECT_EQ(broker_.all<Batch>().size(), 1U);
  EXPECT_EQ(report.summary.applied, 1U);
  EXPECT_TRUE(report.interrupted);
  EXPECT_EQ(exit_code_of(report), 130);
}

TEST_F(PetsTest, SecondInterruptWaitsForNothing) {
  broker_.rows = FakeBroker::Rows::ignored;
  broker_.on_wait = [this] { ++stops_; };
  const Report report = insert("P1");
  EXPECT_EQ(report.summary.unacknowledged, 1U);
  EXPECT_EQ(exit_code_of(report), 130);
}

TEST_F(PetsTest, InterruptBeforeTheFirstPetTriesNone) {
  stops_ = 1;
  const Report report = insert("P1");
  EXPECT_TRUE(broker_.all<Batch>().empty());
  EXPECT_EQ(exit_code_of(report), 130);
}

TEST_F(PetsTest, BrokerThatRefusesTheProducerEndsTheJobBeforeAPet) {
  broker_.answers = false;
  broker_.on_wait = [this] {
    broker_.to_producer.push_back(Refusal{RefusalCode::malformed, {}, "what is this"});
  };
  const Report report = insert("P1");
  EXPECT_TRUE(broker_.all<Batch>().empty());
  ASSERT_TRUE(report.failure);
  EXPECT_THAT(report.failure->what, HasSubstr("what is this"));
}

TEST_F(PetsTest, PetAboveTheRowLimitEndsTheJob) {
  ProducerOptions options;
  options.id = {"p"};
  options.clock = broker_.clock();
  options.coarse_clock = options.clock;
  Producer producer(broker_, std::move(options));
  const PetsLog log{[](const std::string&) {}, [](const std::string&) {}};
  const Report report =
      insert_pets(producer, "P1", {{std::string(8'000'000, 'A'), "Dog"}}, stopping_, log);
  ASSERT_TRUE(report.failure);
  EXPECT_EQ(report.failure->code, Errc::bad_input);
  EXPECT_TRUE(broker_.all<Batch>().empty());
}

TEST_F(PetsTest, AMissingFileOrColumnIsNamed) {
  const Folder folder;
  const auto missing = read_pets((folder.path() / "no.csv").string());
  ASSERT_FALSE(missing);
  EXPECT_THAT(missing.error().what, HasSubstr("no.csv"));
  for (const char* has : {"name,age\nRex,3\n", "age,breed\n3,Dog\n"}) {
    const auto lacks = read_pets(folder.file("pets.csv", has));
    ASSERT_FALSE(lacks) << has;
    EXPECT_THAT(lacks.error().what, HasSubstr(has[0] == 'n' ? "breed" : "name"));
  }
}

TEST_F(PetsTest, BrokerThatRefusesEndsTheJob) {
  broker_.rows = FakeBroker::Rows::ignored;
  broker_.on_wait = [this] {
    broker_.to_producer.push_back(Refusal{RefusalCode::malformed, {1}, "what is this"});
  };
  const Report report = insert("P1");
  ASSERT_TRUE(report.failure);
  EXPECT_THAT(report.failure->what, HasSubstr("what is this"));
  EXPECT_EQ(exit_code_of(report), 1);
}

}  // namespace
}  // namespace turnstile
