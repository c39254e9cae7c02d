/*
 * A gate, as a plugin of nowd: a service on D-Bus whose methods can be called from far away, through the gateway.
 *
 * The gateway asks Describe for the methods, then sends an Invoke for each call. What a plugin owes:
 *
 * 1. Never late. At not_after_us nobody wants this any more. Compare it with the clock directly before you move something:
 *    a process can be frozen for seconds between two lines.
 * 2. Honest. "executed" is what you know has happened, "not_executed" what you know has not, so that callers may try it
 *    again. In doubt it is "unknown".
 * 3. Answer when the hardware is free for the next call. Cancel says that nobody waits any more: stop, then answer.
 *
 * One thread and one loop: an Invoke that takes time keeps its message (struct call), and is answered from a timer.
 *
 * For your hardware, replace what begins with motor_, then DESCRIPTION and the functions before invoke(). Environment:
 * NOWD_BUS is "system" (the default), "session" or an address; GATE_TRAVEL_MS how long it moves; GATE_RECORD a file for tests.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>
#include <time.h>

#define NAME "com.example.Gate"
#define PATH "/com/example/Gate"
#define INTERFACE "io.nowd.Plugin1"

/*
 * Of the motor's lane one call runs at a time, and none waits behind it: it would start to move when somebody has just halted
 * the gate. gate.halt has a lane of its own, else it would wait for the call that it is to halt.
 */
static const char DESCRIPTION[] =
    "{\"lane\": {\"name\": \"motor\", \"concurrency\": 1, \"depth\": 0},"
    " \"methods\": {"
    "  \"gate.open\": {"
    "   \"description\": \"Moves the gate to so many percent open, and answers when it is there\","
    "   \"params\": {\"percent\": {\"type\": \"integer\", \"minimum\": 0, \"maximum\": 100}},"
    "   \"on_timeout\": \"gate.halt\"},"
    "  \"gate.halt\": {"
    "   \"description\": \"Stops the gate where it is\","
    "   \"stop\": true, \"idempotent\": true, \"lane\": {\"name\": \"halt\"}},"
    "  \"gate.position\": {"
    "   \"description\": \"How far the gate is open, in percent\","
    "   \"idempotent\": true, \"lane\": {\"name\": \"position\", \"concurrency\": 4}}}}";

/* A call that has no answer yet. */
struct call {
    sd_bus_message *message; /* the Invoke itself: its id and what it is answered to */
    const char *id;          /* within message */
    uint64_t not_after_us;
    int percent;
};

static struct {
    sd_event *event;
    sd_event_source *look; /* the timer that looks at the motor while it moves */
    struct call moving;    /* the gate.open that runs; message is NULL when none does */
    double origin, target, travel_us;
    uint64_t started_us;
} gate;

/* The clock of not_after_us: it goes on while the machine sleeps, and nobody can set it. */
static uint64_t boottime_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* The hardware: here only arithmetic. Once started it runs by itself, as a real one does. */

static int motor_position(void) {
    double gone = (double)(boottime_us() - gate.started_us);
    double share = gone < gate.travel_us ? gone / gate.travel_us : 1;
    return (int)lround(gate.origin + (gate.target - gate.origin) * share);
}

static void motor_start(int target) {
    gate.origin = motor_position();
    gate.target = target;
    gate.started_us = boottime_us();
}

static void motor_stop(void) { gate.origin = gate.target = motor_position(); }

/* Answers. */

static int answer_error(const struct call *call, const char *status, const char *outcome, const char *code, const char *text) {
    char *said = NULL;
    json_t *error = json_pack("{s:s, s:s}", "code", code, "message", text);
    if (error)
        said = json_dumps(error, JSON_COMPACT);
    json_decref(error);
    int r = said ? sd_bus_reply_method_return(call->message, "sss", status, outcome, said) : -ENOMEM;
    free(said);
    return r;
}

static int answer_position(const struct call *call) {
    char said[32];
    snprintf(said, sizeof said, "{\"position\":%d}", motor_position());
    return sd_bus_reply_method_return(call->message, "sss", "ok", "executed", said);
}

static int too_late(const struct call *call) {
    return answer_error(call, "expired", "not_executed", "expired", "the deadline passed before anything was done");
}

/* Belongs directly after what acts: tests compare the instants. */
static void record(const struct call *call, const char *what, int percent) {
    const char *path = getenv("GATE_RECORD");
    FILE *file = path ? fopen(path, "ae") : NULL;
    if (!file)
        return;
    fprintf(file, "%llu %s %llu %s", (unsigned long long)boottime_us(), call->id, (unsigned long long)call->not_after_us, what);
    if (percent >= 0)
        fprintf(file, " %d", percent);
    fputc('\n', file);
    fclose(file);
}

/* Ends the gate.open that runs. code is NULL when the gate is where it was to be, else it says what ended it. */
static int end_moving(const char *status, const char *code, const char *why) {
    struct call call = gate.moving;
    motor_stop();
    gate.moving.message = NULL;
    gate.look = sd_event_source_disable_unref(gate.look);
    int r;
    if (motor_position() == call.percent) {
        r = answer_position(&call);
    } else {
        char text[96];
        snprintf(text, sizeof text, "%s at %d percent", why, motor_position());
        r = answer_error(&call, status, "unknown", code, text);
    }
    sd_bus_message_unref(call.message);
    return r;
}

static int look_at_motor(sd_event_source *source, uint64_t at, void *nothing) {
    (void)nothing;
    if (motor_position() == gate.moving.percent)
        return end_moving("failed", "stopped", "the gate stopped by itself");
    int r = sd_event_source_set_time(source, at + 5000);
    return r < 0 ? r : sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

/* The methods. Each ends with an answer, or keeps the message for later. */

static int gate_open(const struct call *call, json_t *params) {
    json_t *percent = json_object_get(params, "percent");
    json_int_t value = json_integer_value(percent);
    if (!json_is_integer(percent) || json_object_size(params) != 1 || value < 0 || value > 100)
        return answer_error(call, "invalid_request", "not_executed", "bad_params", "percent must be an integer from 0 to 100");
    /* The lane prevents it, except from a gateway that was started anew meanwhile. */
    if (gate.moving.message)
        return answer_error(call, "refused", "not_executed", "moving", "the gate is moving for another call");
    /* First all that can fail, so that nothing stands between the clock and the motor. */
    int r = sd_event_add_time_relative(gate.event, &gate.look, CLOCK_MONOTONIC, 5000, 1000, look_at_motor, NULL);
    if (r < 0)
        return answer_error(call, "unavailable", "not_executed", "no_timer", strerror(-r));
    if (boottime_us() >= call->not_after_us) {
        gate.look = sd_event_source_disable_unref(gate.look);
        return too_late(call);
    }
    motor_start((int)value);
    record(call, "open", (int)value);
    gate.moving = *call;
    gate.moving.percent = (int)value;
    sd_bus_message_ref(call->message);
    return 1;
}

static int gate_halt(const struct call *call) {
    if (boottime_us() >= call->not_after_us)
        return too_late(call);
    motor_stop();
    record(call, "halt", -1);
    if (gate.moving.message) {
        int r = end_moving("failed", "halted", "the gate was halted");
        if (r < 0)
            return r;
    }
    return answer_position(call);
}

static int gate_position(const struct call *call) {
    /* A late answer is of no use either. */
    return boottime_us() >= call->not_after_us ? too_late(call) : answer_position(call);
}

static int invoke(sd_bus_message *message, void *nothing, sd_bus_error *error) {
    (void)nothing, (void)error;
    struct call call = {.message = message};
    const char *method, *request;
    int r = sd_bus_message_read(message, "ssst", &call.id, &method, &request, &call.not_after_us);
    if (r < 0)
        return r;
    /* The gateway has checked the parameters already; a plugin does not rely on it. */
    json_error_t mistake;
    json_t *params = json_loads(request, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &mistake);
    bool none = json_is_null(params) || (json_is_object(params) && json_object_size(params) == 0);
    if (!params)
        r = answer_error(&call, "invalid_request", "not_executed", "bad_params", mistake.text);
    else if (strcmp(method, "gate.open") == 0)
        r = gate_open(&call, params);
    else if (strcmp(method, "gate.halt") != 0 && strcmp(method, "gate.position") != 0)
        r = answer_error(&call, "unavailable", "not_executed", "no_method", "the gate has no such method");
    else if (!none)
        r = answer_error(&call, "invalid_request", "not_executed", "bad_params", "this method takes no parameters");
    else
        r = strcmp(method, "gate.halt") == 0 ? gate_halt(&call) : gate_position(&call);
    json_decref(params);
    return r;
}

static int cancel(sd_bus_message *message, void *nothing, sd_bus_error *error) {
    (void)nothing, (void)error;
    const char *id;
    int r = sd_bus_message_read(message, "s", &id);
    if (r < 0)
        return r;
    if (gate.moving.message && strcmp(id, gate.moving.id) == 0) {
        r = end_moving("timeout", "cancelled", "nobody waited any more: the gate was stopped");
        if (r < 0)
            return r;
    }
    return sd_bus_reply_method_return(message, "");
}

static int describe(sd_bus_message *message, void *nothing, sd_bus_error *error) {
    (void)nothing, (void)error;
    return sd_bus_reply_method_return(message, "s", DESCRIPTION);
}

static int health(sd_bus_message *message, void *nothing, sd_bus_error *error) {
    (void)nothing, (void)error;
    return sd_bus_reply_method_return(message, "ss", "ok", ""); /* or "degraded" or "failed", and why */
}

/* Without SD_BUS_VTABLE_UNPRIVILEGED only root could call. Who may is said by the bus's policy, com.example.Gate.conf. */
static const sd_bus_vtable interface[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD("Describe", "", "s", describe, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("Invoke", "ssst", "sss", invoke, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("Cancel", "s", "", cancel, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("Health", "", "ss", health, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_SIGNAL("Changed", "", 0), /* to be sent when description or health have changed */
    SD_BUS_VTABLE_END,
};

static int open_bus(sd_bus **bus) {
    const char *where = getenv("NOWD_BUS");
    if (!where || strcmp(where, "system") == 0)
        return sd_bus_open_system(bus);
    if (strcmp(where, "session") == 0)
        return sd_bus_open_user(bus);
    int r = sd_bus_new(bus);
    if (r >= 0)
        r = sd_bus_set_address(*bus, where);
    if (r >= 0)
        r = sd_bus_set_bus_client(*bus, 1);
    return r < 0 ? r : sd_bus_start(*bus);
}

/* Runs until SIGTERM (0) or until the bus is gone (an error: systemd then starts the gate again). */
static int run(sd_bus **bus) {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    int r = -sigprocmask(SIG_BLOCK, &signals, NULL);
    if (r >= 0)
        r = sd_event_default(&gate.event);
    if (r >= 0)
        r = sd_event_add_signal(gate.event, NULL, SIGTERM, NULL, NULL);
    if (r >= 0)
        r = open_bus(bus);
    if (r >= 0)
        r = sd_bus_set_exit_on_disconnect(*bus, 1);
    if (r >= 0)
        r = sd_bus_attach_event(*bus, gate.event, SD_EVENT_PRIORITY_NORMAL);
    /* The object first, then the name: who sees the name may call at once. */
    if (r >= 0)
        r = sd_bus_add_object_vtable(*bus, NULL, PATH, INTERFACE, interface, NULL);
    if (r < 0) {
        fprintf(stderr, "gate: there is no bus at NOWD_BUS=%s: %s\n", getenv("NOWD_BUS") ?: "system", strerror(-r));
        return r;
    }
    r = sd_bus_request_name(*bus, NAME, 0);
    if (r == -EEXIST)
        fprintf(stderr, "gate: another process has the name " NAME " already: stop it (`busctl status " NAME "` says which it is)\n");
    else if (r == -EACCES || r == -EPERM)
        fprintf(stderr, "gate: the bus does not allow this user to own the name " NAME ": run as the user that "
                        "/etc/dbus-1/system.d/" NAME ".conf names, and let the bus read that file (`systemctl reload dbus`)\n");
    else if (r < 0)
        fprintf(stderr, "gate: the name " NAME " cannot be had: %s\n", strerror(-r));
    if (r < 0)
        return r;
    r = sd_event_loop(gate.event);
    if (r < 0)
        fprintf(stderr, "gate: it cannot go on: %s\n", strerror(-r));
    return r;
}

int main(void) {
    const char *travel = getenv("GATE_TRAVEL_MS");
    gate.travel_us = (travel ? strtod(travel, NULL) : 200) * 1000;
    sd_bus *bus = NULL;
    int r = run(&bus);
    motor_stop(); /* nobody could halt it any more */
    sd_event_source_disable_unref(gate.look);
    sd_bus_message_unref(gate.moving.message);
    sd_bus_flush_close_unref(bus);
    sd_event_unref(gate.event);
    if (r > 0)
        fprintf(stderr, "gate: the bus went away\n");
    return r == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
