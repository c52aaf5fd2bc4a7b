# outbox: a transactional outbox for PostgreSQL and Kafka
#
#   make && make install     builds and installs both libraries
#   make lint                formatting, walls between modules, version numbers
#   make analyse             cppcheck and clang-tidy, a minute or two
#   make bench               measures against real Kafka
#
# The tests' one command is test/all.

MODULE_big = outbox
# the folders of outbox.so, the lower ones first; src/README.md tells more
FOLDERS = sink source format shared store poison retry emit capture inbox publish schedule relay \
	subscribe monitor ddl launcher
OBJS = $(patsubst %.c,%.o,$(wildcard src/*.c) \
	$(foreach folder,$(FOLDERS),$(wildcard src/$(folder)/*.c)))
EXTENSION = outbox
EXTVERSION := $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" outbox.control)
DATA_built = sql/outbox--$(EXTVERSION).sql
PGFILEDESC = "outbox - transactional outbox for Kafka"

# in this order: install comes first, uninstall last
REGRESS = install types errors transaction privileges guc patterns relays topic_rules subscriptions uninstall
ISOLATION = $(patsubst test/isolation/specs/%.spec,%,$(sort $(wildcard test/isolation/specs/*.spec)))
ISOLATION_OPTS = --inputdir=test/isolation

PG_CONFIG = pg_config
PG_CFLAGS = -Wall -Wextra -Wno-declaration-after-statement
# the server's headers are not ours to warn about
PG_CPPFLAGS = -Isrc -isystem $(shell $(PG_CONFIG) --includedir-server)

PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# The sink module has its own makefile: one PGXS builds one library.
KAFKA = $(MAKE) -C src/kafka PG_CONFIG='$(PG_CONFIG)' with_llvm='$(with_llvm)'

.PHONY: kafka bench lint analyse print-folders
all: kafka
kafka:
	+$(KAFKA) all
install: kafka-install
# after it, or make -j would install what another make is linking
kafka-install: kafka
	+$(KAFKA) install
uninstall: kafka-uninstall
kafka-uninstall:
	+$(KAFKA) uninstall
clean: kafka-clean
kafka-clean:
	+$(KAFKA) clean
.PHONY: kafka-install kafka-uninstall kafka-clean

# every object is rebuilt when a header changes; there are few
$(OBJS): $(wildcard src/*.h src/*/*.h)

# sql/README.md tells how it is put together
sql/outbox--$(EXTVERSION).sql: outbox.control sql/build $(wildcard sql/frame/* sql/tables/* sql/code/*)
	sql/build install $(EXTVERSION) >$@

bench:
	test/bench/run

lint:
	test/lint/lint

# for test/lint/lint
print-folders:
	@echo $(FOLDERS)

# needs Debian's packages cppcheck and clang-tidy
analyse:
	cppcheck --quiet --error-exitcode=1 --inline-suppr --std=c11 \
		--enable=warning,performance,portability -Isrc -DPG_VERSION_NUM=150000 \
		-DRD_KAFKA_VERSION=0x020002ff '-DPG_FUNCTION_INFO_V1(x)=' src
	clang-tidy --quiet src/*.c src/*/*.c -- \
		-std=gnu11 -D_GNU_SOURCE $(PG_CPPFLAGS)
