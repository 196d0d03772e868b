# shellcheck shell=bash
# A private Apache Kafka broker below $DIR/kafka: one node in KRaft mode, its jars from Maven Central, kept once per
# user. Listeners on the loopback: plain, SASL (PLAIN, SCRAM), SASL (OAUTHBEARER, unsigned tokens), TLS with client
# certificates, the controller's, and one for a wire that can be cut: the broker advertises a port where nobody
# listens until a test puts its proxy there.

kafka_users="longshore:longshore-secret"
kafka_store_password="longshore"

kafka_given() {
    [ -n "${LONGSHORE_TEST_KAFKA_BROKERS:-}" ]
}

kafka_given_env() {
    local name
    for name in BROKERS SASL_BROKERS OAUTH_BROKERS TLS_BROKERS WIRE_BROKERS WIRE_LISTENER CERTS PID; do
        name="LONGSHORE_TEST_KAFKA_$name"
        [ -z "${!name:-}" ] || printf 'export %s=%q\n' "$name" "${!name}"
    done
}

kafka_pom() {
    echo "$lib/kafka/pom.xml"
}

# Where the jars are, by version: another one is another directory.
kafka_jars() {
    local version
    version="$(sed -n 's:.*<kafka.version>\(.*\)</kafka.version>.*:\1:p' "$(kafka_pom)")"
    echo "${LONGSHORE_CACHE_DIR:-$HOME/.cache/longshore}/kafka-$version"
}

kafka_require() {
    local wanted=()
    command -v java >/dev/null 2>&1 || wanted+=(default-jre-headless)
    command -v openssl >/dev/null 2>&1 || wanted+=(openssl)
    [ -d "$(kafka_jars)" ] || command -v mvn >/dev/null 2>&1 || wanted+=(maven)
    if [ "${#wanted[@]}" -gt 0 ]; then
        can_install || missing Kafka LONGSHORE_TEST_KAFKA_BROKERS
        install_packages "${wanted[@]}" || missing Kafka LONGSHORE_TEST_KAFKA_BROKERS
    fi
    kafka_fetch
}

# Whole or not at all: a directory that has the final name is complete, whoever else fetches at the same time.
kafka_fetch() {
    local jars fresh log
    jars="$(kafka_jars)"
    [ ! -d "$jars" ] || return 0
    say "longshore: fetching Kafka's jars from Maven Central"
    mkdir -p "$(dirname "$jars")"
    fresh="$(mktemp -d "$jars.XXXXXX")"
    log="$(mktemp)"
    cp "$(kafka_pom)" "$fresh/pom.xml"
    if ! mvn -B -q -f "$fresh/pom.xml" dependency:copy-dependencies -DincludeScope=runtime \
        -DoutputDirectory="$fresh/lib" >"$log" 2>&1 </dev/null; then
        tail_log "$log"
        rm -rf "$fresh" "$log"
        die "Kafka's jars cannot be fetched from Maven Central"
    fi
    rm -f "$log"
    chmod 755 "$fresh"
    mv -T "$fresh" "$jars" 2>/dev/null || rm -rf "$fresh" # somebody else was faster
    [ -d "$jars/lib" ] || die "Kafka's jars are missing in \`$jars\`: remove it and try again"
}

kafka_pid() {
    cat "$DIR/kafka/pid" 2>/dev/null || true
}

kafka_is_up() {
    is_ours "$(kafka_pid)" "$DIR/kafka/server.properties"
}

kafka_port() {
    cut -d ' ' -f "$1" "$DIR/kafka/ports"
}

kafka_choose_ports() {
    echo "$(free_port) $(free_port) $(free_port) $(free_port) $(free_port) $(free_port) $(free_port)" >"$DIR/kafka/ports"
}

# A CA, a certificate of the broker for the loopback, one of a client, and a CA that signed neither.
kafka_certificates() (
    mkdir -p "$DIR/kafka/certs"
    cd "$DIR/kafka/certs" || exit
    local who
    {
        for who in ca stranger; do
            openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj "/CN=longshore test $who" \
                -keyout "$who.key" -out "$who.pem"
        done
        for who in broker client; do
            openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$who" -keyout "$who.key" -out "$who.csr"
            printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\n' >"$who.ext"
            openssl x509 -req -in "$who.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 \
                -extfile "$who.ext" -out "$who.pem"
        done
        openssl pkcs8 -topk8 -in client.key -passout "pass:$kafka_store_password" -out client.encrypted.key
        cat broker.key broker.pem >broker.store.pem
    } >openssl.log 2>&1
    # Keys are for tests, and the broker may run as another user than they.
    chmod 644 ./*.key ./*.pem
)

kafka_configure() {
    local plain sasl oauth tls controller wire proxy user password jaas
    plain="$(kafka_port 1)" sasl="$(kafka_port 2)" oauth="$(kafka_port 3)" tls="$(kafka_port 4)"
    controller="$(kafka_port 5)" wire="$(kafka_port 6)" proxy="$(kafka_port 7)"
    user="${kafka_users%%:*}" password="${kafka_users#*:}"
    jaas="org.apache.kafka.common.security"
    cat >"$DIR/kafka/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
controller.listener.names=CONTROLLER
listeners=PLAIN://127.0.0.1:$plain,SASL://127.0.0.1:$sasl,OAUTH://127.0.0.1:$oauth,TLS://127.0.0.1:$tls,WIRE://127.0.0.1:$wire,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAIN://127.0.0.1:$plain,SASL://127.0.0.1:$sasl,OAUTH://127.0.0.1:$oauth,TLS://127.0.0.1:$tls,WIRE://127.0.0.1:$proxy
listener.security.protocol.map=PLAIN:PLAINTEXT,SASL:SASL_PLAINTEXT,OAUTH:SASL_PLAINTEXT,TLS:SSL,WIRE:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAIN
log.dirs=$DIR/kafka/data
num.partitions=1
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.num.partitions=2
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.min.session.timeout.ms=1000
group.consumer.min.heartbeat.interval.ms=500
group.consumer.heartbeat.interval.ms=500
# Cleaning and deleting happen while a test waits for them.
log.cleaner.backoff.ms=200
log.retention.check.interval.ms=1000
log.segment.delete.delay.ms=100
file.delete.delay.ms=100
message.max.bytes=10485760
listener.name.sasl.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.sasl.plain.sasl.jaas.config=$jaas.plain.PlainLoginModule required user_$user="$password";
listener.name.sasl.scram-sha-256.sasl.jaas.config=$jaas.scram.ScramLoginModule required;
listener.name.sasl.scram-sha-512.sasl.jaas.config=$jaas.scram.ScramLoginModule required;
# Who is not known any more is found out within seconds, not with the next connection.
listener.name.sasl.plain.connections.max.reauth.ms=4000
listener.name.sasl.scram-sha-256.connections.max.reauth.ms=4000
listener.name.sasl.scram-sha-512.connections.max.reauth.ms=4000
listener.name.oauth.sasl.enabled.mechanisms=OAUTHBEARER
listener.name.oauth.oauthbearer.sasl.jaas.config=$jaas.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";
listener.name.oauth.oauthbearer.connections.max.reauth.ms=4000
listener.name.tls.ssl.client.auth=required
listener.name.tls.ssl.keystore.type=PEM
listener.name.tls.ssl.keystore.location=$DIR/kafka/certs/broker.store.pem
listener.name.tls.ssl.truststore.type=PEM
listener.name.tls.ssl.truststore.location=$DIR/kafka/certs/ca.pem
PROPERTIES
}

# Replaces the shell, so that the PID is Java's. Quick to start, small and quiet: it shares the machine with the tests.
kafka_java() {
    exec java -Xmx512m -Xms128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData \
        -Dorg.slf4j.simpleLogger.defaultLogLevel=warn \
        -Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info \
        -cp "$(kafka_jars)/lib/*" "$@"
}

kafka_format() {
    local id user password
    user="${kafka_users%%:*}" password="${kafka_users#*:}"
    # 16 random bytes in URL-safe base64 without padding, as Kafka's own tool makes them; without its `-`, which in front
    # makes the id an option.
    id="$(head -c 16 /dev/urandom | base64 | tr '+/' '0_' | tr -d '=')"
    (kafka_java kafka.tools.StorageTool format -t "$id" -c "$DIR/kafka/server.properties" \
        --add-scram "SCRAM-SHA-256=[name=$user,password=$password]" \
        --add-scram "SCRAM-SHA-512=[name=$user,password=$password]") >"$DIR/kafka/format.log" 2>&1 </dev/null
}

# kafka_configs ARGUMENT…: users and settings of the running broker.
kafka_configs() (
    kafka_require
    kafka_java kafka.admin.ConfigCommand --bootstrap-server "127.0.0.1:$(kafka_port 1)" "$@"
)

# In a process group of its own, so that Ctrl-C at the terminal leaves the order of stopping to us.
kafka_launch() (
    set -m
    cd "$DIR/kafka" || exit
    (kafka_java kafka.Kafka "$DIR/kafka/server.properties") >"$DIR/kafka/server.log" 2>&1 </dev/null &
    echo "$!" >"$DIR/kafka/pid"
)

# Waits for the line the node itself writes when every listener is open: no other server can be meant.
kafka_wait() {
    local tick=0
    until grep -q 'Kafka Server started' "$DIR/kafka/server.log" 2>/dev/null; do
        tick=$((tick + 1))
        [ "$tick" -lt 600 ] || return 1
        [ "$tick" -lt 10 ] || kafka_is_up || return 1
        sleep 0.1
    done
    kafka_is_up
}

kafka_start() {
    kafka_require
    kafka_is_up && return 0
    rm -f "$DIR/kafka/pid" "$DIR/kafka/server.log"
    kafka_launch
    kafka_wait
}

kafka_up() {
    local try
    kafka_require
    kafka_is_up && return 0
    for try in 1 2 3; do
        if [ ! -f "$DIR/kafka/initialised" ]; then
            rm -rf "$DIR/kafka"
            mkdir -p "$DIR/kafka"
            kafka_choose_ports
            kafka_certificates
            kafka_configure
            kafka_format || break
        fi
        if kafka_start; then
            touch "$DIR/kafka/initialised"
            return 0
        fi
        kafka_stop immediate
    done
    tail_log "$DIR/kafka/format.log"
    tail_log "$DIR/kafka/server.log"
    die "Kafka did not start after $try tries; its log is \`$DIR/kafka/server.log\`"
}

kafka_stop() {
    local signal=TERM
    [ "$1" != immediate ] || signal=KILL
    end_process "$(kafka_pid)" "$DIR/kafka/server.properties" "$signal"
}

kafka_env() {
    echo "export LONGSHORE_TEST_KAFKA_BROKERS='127.0.0.1:$(kafka_port 1)'"
    echo "export LONGSHORE_TEST_KAFKA_SASL_BROKERS='127.0.0.1:$(kafka_port 2)'"
    echo "export LONGSHORE_TEST_KAFKA_OAUTH_BROKERS='127.0.0.1:$(kafka_port 3)'"
    echo "export LONGSHORE_TEST_KAFKA_TLS_BROKERS='127.0.0.1:$(kafka_port 4)'"
    echo "export LONGSHORE_TEST_KAFKA_WIRE_LISTENER='127.0.0.1:$(kafka_port 6)'"
    echo "export LONGSHORE_TEST_KAFKA_WIRE_BROKERS='127.0.0.1:$(kafka_port 7)'"
    echo "export LONGSHORE_TEST_KAFKA_CERTS='$DIR/kafka/certs'"
    echo "export LONGSHORE_TEST_KAFKA_PID='$(kafka_pid)'"
}
