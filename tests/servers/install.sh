#!/bin/sh
# Installs what tests/servers starts, if it is missing: programs from Debian's packages, Cassandra
# from Maven Central, k6 from its Go module. Leaves no system service running. Quiet when there is nothing to do.
set -eu

# program|package; PostgreSQL keeps its server programs outside of PATH. The library is what sets the
# clocks of single processes.
wanted='redis-server|redis-server
redis-cli|redis-tools
redis-benchmark|redis-tools
libfaketimeMT.so.1|libfaketime
postgres|postgresql
nginx|nginx
haproxy|haproxy
java|openjdk-17-jre-headless
mvn|maven'

find_program() {
    command -v "$1" >/dev/null 2>&1 || ls /usr/lib/postgresql/*/bin/"$1" >/dev/null 2>&1 ||
        ls /usr/lib/*/faketime/"$1" >/dev/null 2>&1 || ls /usr/sbin/"$1" >/dev/null 2>&1
}

missing=
for line in $wanted; do
    find_program "${line%|*}" || case " $missing " in
    *" ${line#*|} "*) ;;
    *) missing="$missing ${line#*|}" ;;
    esac
done
here=$(dirname "$0")
# As in src/cassandra.rs.
cassandra=${XDG_CACHE_HOME:-$HOME/.cache}/pabal/cassandra-5.0.5

# The folder gets its final name once it is complete.
install_cassandra() {
    [ ! -d "$cassandra" ] || return 0
    echo "Downloading Cassandra"
    mkdir -p "${cassandra%/*}"
    partial=$(mktemp -d "$cassandra.XXXXXX")
    if mvn -q -B -f "$here/cassandra/pom.xml" dependency:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$partial"; then
        chmod 755 "$partial"
        # Another run may have installed it meanwhile.
        mv -T "$partial" "$cassandra" 2>/dev/null || rm -rf "$partial"
    else
        rm -rf "$partial"
        echo "Cassandra is not installed: Maven could not download it." >&2
        return 1
    fi
}

# Without Go k6 is skipped, and tests that need it report that.
install_k6() {
    ! command -v go >/dev/null 2>&1 || "$here/../../benches/k6/install.sh" >/dev/null
}

if [ -z "$missing" ]; then
    install_cassandra
    install_k6
    exit
fi

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "Not installed:$missing. Install them as root (Debian: apt-get install$missing)," >&2
    echo "or run \`cargo test --workspace --locked\`, which leaves out what needs them." >&2
    exit 1
fi

echo "Installing$missing"
log=$(mktemp)
# A package starts its service unless this file says that it may not (policy-rc.d, code 101).
policy=/usr/sbin/policy-rc.d
made_policy=
cleanup() {
    [ -z "$made_policy" ] || rm -f "$policy"
    rm -f "$log"
}
trap cleanup EXIT
trap 'exit 1' INT TERM
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    made_policy=yes
fi
install() {
    # shellcheck disable=SC2086 # a list of packages
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing >"$log" 2>&1
}
# The lists may be absent or older than the packages on the mirror.
install || { apt-get update -q >>"$log" 2>&1 && install; } || {
    cat "$log" >&2
    exit 1
}
install_cassandra
install_k6
