"""Which tests prove what sites rely on, and that what they suffer from elsewhere is absent.

`TROUBLES` are what services outlive, with a clear line and nothing lost. Each value is a file below `tests`,
the names of its tests without `test_`, then the next file. An entry is complete if each part of its name is
in one of its tests; `tests/unit/test_compatibility.py` looks that these are there.
"""

ROWS = {
    # -- Commands
    "flags of all commands: `-e`, `-t`, `-?`, `--rabbit-…`, `--stomp-…`": """
        process/test_legacy.py flags_that_would_send_elsewhere which_transport_is_meant
            what_the_daemon_has_not help_and_nothing_else_of_that_name go_and_pickup
        unit/test_wrapper_site.py flags_count_more_than_the_site ports_that_do_not_fit
            several_environments
    """,
    "`zocalo.service -s`: exact, in any case, or the beginning of one name": """
        unit/test_lookup.py match match_fails load_by_path_and_by_entry_point
            own_services_win_and_that_is_said
    """,
    "`zocalo.service -v`, `--tag`, `-d`, `-r`": """
        process/test_worker.py verbose_raises_the_verbosity_of_the_site what_a_service_finds
        process/test_cluster.py a_monitor_hears_every_worker_through_its_life
        process/test_daemon.py killed_worker_is_replaced_at_once_and_the_second_death_waits
            policy_decides_about_a_service_that_ends_by_itself
    """,
    "`zocalo.service --liveness`, `--liveness-port`, `--liveness-timeout`": """
        process/test_metrics.py health_is_progress_and_a_stopped_service_is_answered_for
        unit/test_health.py who_serves_starts_or_finishes_is_healthy who_makes_no_progress_is_not
    """,
    "`zocalo.service -m`, `--metrics-port`": """
        process/test_metrics.py counts_are_exact_and_outlive_workers_and_relay_and_code
    """,
    "`zocalo.go`: recipes, IDs, `-f`, `-n`, `-p`, `-s`, `-v`, `--dry-run`, headers": """
        process/test_zocaloctl.py go_composes_the_message_of_zocalo_go
            go_for_a_reprocessing_request_needs_no_recipe go_without_an_id go_dry_run_sends_nothing
        process/test_zocaloctl_daemon.py go_reaches_the_queue_of_the_dispatcher
        process/test_documents.py the_document_is_true
        beside/test_commands.py zocalo_go_submits_to_our_dispatcher
        process/test_legacy.py go_and_pickup
        beside/test_commands.py zocalo_go_submits_to_our_dispatcher
    """,
    "`zocalo.go --drop`, and drop files without a broker": """
        process/test_zocaloctl.py go_drops_a_file_when_told_to_or_without_a_daemon
        process/test_legacy.py go_and_pickup
    """,
    "`zocalo.pickup`": """
        process/test_drain.py pickup_submits_oldest_first_what_go_has_dropped
            two_pickups_do_not_submit_the_same
        process/test_legacy.py go_and_pickup
        beside/test_commands.py zocalo_go_submits_to_our_dispatcher
    """,
    "`zocalo.wrap`: `--wrap`, `--recipewrapper`, `-v`, SIGUSR2": """
        process/test_wrap.py a_job_tells_the_recipe_all_that_zocalo_s_tells
            a_job_that_does_not_inherit_from_our_class_runs a_signal_is_a_failure_that_is_told
            what_keeps_a_job_from_starting
        brokers/test_wrap.py a_job_on_a_cluster_node_sends_what_it_sends_through_a_daemon
            a_job_sends_to_activemq
        beside/test_commands.py a_wrapped_job_of_one_side_tells_services_of_the_other
    """,
    "`zocalo.shutdown`: hosts, `-s`, `none`": """
        beside/test_processes.py each_side_sees_and_stops_the_other
        process/test_legacy.py shutdown_tells_all_hosts
        process/test_cluster.py a_broadcast_shutdown_drains_and_the_daemon_does_not_restart_it
        unit/test_cluster.py hosts_are_named_as_for_zocalo_shutdown each_filter_of_a_command_must_match
        beside/test_processes.py each_side_sees_and_stops_the_other
    """,
    "`zocalo.dlq_check`": """
        process/test_letter_files.py check_counts_and_fails
        process/test_legacy.py a_check_a_purge_and_a_reinject_by_what_was_printed
        beside/test_commands.py dead_letters_make_the_round_through_the_tools_of_both
    """,
    "`zocalo.dlq_purge`": """
        process/test_letter_files.py purge_writes_where_the_site_says only_some_of_them
            nothing_is_deleted_that_could_not_be_written
        unit/test_letterfile.py what_scripts_find_in_a_file names_are_those_of_zocalo
        brokers/test_drain_and_files.py a_dead_letter_is_the_same_after_its_file
        beside/test_commands.py dead_letters_make_the_round_through_the_tools_of_both
    """,
    "`zocalo.dlq_reinject`": """
        beside/test_commands.py dead_letters_make_the_round_through_the_tools_of_both
        process/test_letter_files.py purge_and_reinject_are_a_round_trip_by_a_pipe
            files_go_where_they_came_from_and_only_then_away
        process/test_legacy.py a_check_a_purge_and_a_reinject_by_what_was_printed
            reinject_takes_files_of_this_directory_without_a_slash
        unit/test_letterfile.py where_files_of_zocalo_belong
            a_file_of_zocalo_whose_message_came_by_an_exchange_goes_back_to_its_queue
        brokers/test_plain_clients.py what_ours_rejects_is_a_dead_letter_that_plain_tools_can_send_back
        beside/test_commands.py dead_letters_make_the_round_through_the_tools_of_both
    """,
    "`zocalo.queue_drain`": """
        process/test_drain.py drain_moves_all_in_order_with_headers
            drain_by_recipe_stops_at_what_it_cannot_place
        unit/test_draining.py a_queue_that_was_asked_for_wins otherwise_the_recipe_says
        brokers/test_drain_and_files.py drain_moves_one_message_with_its_headers
    """,
    "`zocalo.configure_rabbitmq`: `configuration`, `--user-config`": """
        brokers/test_configure_rabbitmq.py all_is_made_and_the_second_run_has_nothing_to_do
            what_is_no_longer_listed_goes_and_what_clients_have_stays by_the_name_that_scripts_use
            users_permissions_and_virtual_hosts
    """,
    "`workflows.validate_recipe`": """
        process/test_legacy.py validate_recipe_is_silent_or_says_which
        unit/test_recipe.py each_problem_is_told_with_its_place files_are_checked
    """,
    # -- Services
    "Dispatcher: requests, hooks, filters, time limits, error queue": """
        process/test_dispatcher.py a_named_recipe_runs_with_the_site_configuration
        process/test_dispatcher_site.py hooks_and_filters_of_the_site
        unit/test_dispatcher.py subscribes_acknowledged
            custom_recipe_is_started_in_one_transaction_with_the_ack
            not_ready_is_retried_until_its_time_is_up the_first_time_sets_the_expiration
            after_the_expiration_it_goes_to_the_error_queue
            site_filters_come_first_and_may_change_everything a_recipe_inside_a_recipe_is_started
            a_request_without_guid_gets_a_new_one_each_time
    """,
    "Dispatcher: logbook": """
        process/test_dispatcher.py a_named_recipe_runs_with_the_site_configuration
        process/test_dispatcher_site.py a_full_disk_under_logbook_and_results
        unit/test_dispatcher.py logbook_paths each_recipe_is_in_the_logbook
    """,
    "JSONLines": """
        process/test_dispatcher.py stopping_writes_what_waits the_death_of_a_worker_loses_no_line
            one_of_two_instances_writes
        unit/test_jsonlines.py subscribes_as_the_only_writer keys_are_chosen
    """,
    "Mailer": """
        process/test_mailer.py a_mail_of_a_message_and_one_of_a_recipe mails_wait_while_the_server_is_away
        unit/test_mail.py recipients recipient_is_another_name_for_recipients
            the_message_fills_the_content
    """,
    "Schlockmeister": """
        unit/test_entry_points.py a_service_is_found_by_its_name
        process/test_quarantine.py a_message_that_services_die_of_is_taken_out_of_its_queue
        brokers/test_quarantine.py what_is_delivered_too_often_goes_to_the_quarantine
    """,
    "samples of workflows": """
        process/test_samples.py producers_consumer_and_transactions pipethrough
        beside/test_services.py samples_of_workflows
    """,
    # -- Site configuration
    "site configuration: environments as lists, groups, aliases; files; `include`": """
        unit/test_site_load.py an_environment_is_a_list groups_load_by_name_and_plugins_last
            aliases_lead_on a_file_is_read_only_when_its_environment_is_chosen
            includes_are_laid_below_and_are_relative_to_their_file which_environment
            without_default_nothing_is_active
        process/test_dispatcher.py a_named_recipe_runs_with_the_site_configuration
    """,
    "`ZOCALO_CONFIG`, `ZOCALO_DEFAULT_ENV`": """
        unit/test_load.py the_environment_names_the_site
        unit/test_site_load.py which_environment
        unit/test_wrapper_site.py several_environments
    """,
    "plugins storage, pika, stomp, transport, rabbitmqapi": """
        unit/test_site_checks.py what_is_as_it_should_be what_is_missing what_does_not_fit
        unit/test_site_load.py transports_of_the_active_environment the_default_transport
            the_management_api_of_the_site_belongs_to_rabbitmq
            one_port_serves_all_hosts_and_several_belong_to_one_each
        brokers/test_site_daemon.py services_on_either_broker_and_a_bridge_between_survive_kills
            the_default_of_the_site_counts_without_transports_of_the_daemon
            a_service_opens_a_connection_of_its_own_by_the_plugin_of_the_site
    """,
    "plugins logging (`verbose`), graylog": """
        process/test_site_logs.py records_reach_graylog_as_the_site_wants_them
            graylog_away_holds_up_nothing_and_is_one_line
        process/test_worker.py verbose_raises_the_verbosity_of_the_site
        unit/test_site_logs.py graylog_handlers_of_zocalo_are_ours
            a_verbose_level_may_have_handlers_of_its_own downgrade_filter_under_its_name_of_zocalo
    """,
    "plugins jmx, slurm, iris, smtp": """
        unit/test_site_configuration.py plugins_that_are_their_values
        unit/test_site_checks.py what_is_as_it_should_be what_is_missing what_does_not_fit
        process/test_mailer.py a_mail_of_a_message_and_one_of_a_recipe
    """,
    "plugins of third parties, and unknown ones": """
        process/test_site_logs.py a_plugin_of_a_third_party_and_an_unknown_one
            what_its_schema_refuses_has_file_and_line_and_no_secret
    """,
    '`environment["config"]`': """
        unit/test_site_configuration.py the_chosen_environment_is_activated_and_later_storage_counts
            names_that_are_not_known_are_no_attributes options_for_a_command_line
            an_undefined_environment_is_a_value_error_as_with_zocalo
        process/test_wild.py all_that_common_service_offers
    """,
    "entry points of services, transports, plugins, wrappers, filters and hooks": """
        unit/test_lookup.py load_by_path_and_by_entry_point
        process/test_wrap.py a_job_that_does_not_inherit_from_our_class_runs
            any_transport_of_workflows_will_do
        process/test_site_logs.py a_plugin_of_a_third_party_and_an_unknown_one
        process/test_dispatcher_site.py hooks_and_filters_of_the_site
        unit/test_entry_points.py no_name_of_zocalo_is_an_entry_point_of_ours
        beside/test_commands.py the_environment_of_zocalo_commands_may_hold_ours
            programs_of_zocalo_reach_the_embedded_broker_by_our_transport
    """,
    # -- What code relies on
    "`CommonService`": """
        process/test_wild.py all_that_common_service_offers
        process/test_worker.py what_a_service_finds service_that_shuts_itself_down
            service_that_asks_to_be_terminated drain
        process/test_idle.py a_service_that_is_never_idle_writes_what_it_has_collected
    """,
    "`BaseWrapper`": """
        process/test_wrap.py a_job_tells_the_recipe_all_that_zocalo_s_tells what_a_job_does_is_broadcast
            log_lines_reach_the_handlers_of_the_site
        unit/test_job.py success failure
    """,
    "recipes: rules, parameters, merging": """
        unit/test_recipe.py each_problem_is_told_with_its_place a_good_recipe_has_no_problem
        machines/test_recipe.py what_workflows_refuses_is_a_problem
        machines/test_services.py the_dispatcher_settles_every_message_once
        unit/test_dispatcher.py named_recipes_are_joined node_zero_works_with_every_version_of_workflows
    """,
    "recipes: envelope, header `workflows-recipe`": """
        process/test_wild.py checkpoints_with_a_delay_in_a_transaction
        unit/test_dispatcher.py an_odd_header_is_no_recipe_mark a_malformed_envelope_is_dead_lettered
    """,
    "transport: calls of all": """
        brokers/test_transport.py callbacks_get_the_headers_that_pika_gives json_with_decimal_as_float
            bodies_are_bytes_before_mangling unsubscribe_can_drop_the_callback temporary_queue
            broadcast_reaches_everybody nack_multiple a_transaction_happens_at_once_or_not_at_all
            an_interceptor_gets_every_callback middleware_sees_the_calls status_broadcast
            connecting_twice_and_disconnecting_twice
    """,
    "transport: options of PikaTransport": """
        brokers/test_transport.py prefetch_count_is_the_number_in_hand delay expiration_may_be_a_fraction
            an_exchange_that_is_not_there_is_an_error_and_poisons_nothing nack_with_requeue_delivers_again
            arguments_of_other_transports_are_accepted
        brokers/test_rabbitmq.py delay_by_the_exchange_where_there_is_one delay_without_the_plugin
        brokers/test_plain_clients.py a_service_cannot_tell_who_sent_a_message_nor_what_brought_it
            a_message_of_ours_is_the_same_bytes_with_the_same_properties
    """,
    "transport: options of StompTransport": """
        brokers/test_transport.py an_exclusive_consumer_gets_all_until_it_goes
            consumers_of_a_higher_priority_come_first messages_of_a_higher_priority_come_first
            retroactive_subscribers_get_the_latest
        brokers/test_activemq.py selectors a_prefix_is_the_namespace_of_queues_and_topics
            ignore_namespace_is_the_name_as_it_is_for_messages_dead_letters_and_topics
            plain_clients_and_ours_share_queues
    """,
    "status broadcast": """
        beside/test_processes.py status_monitor_of_workflows_shows_our_workers
        process/test_cluster.py a_monitor_hears_every_worker_through_its_life
        brokers/test_cluster.py plain_workflows_hears_our_workers_and_we_hear_it
        unit/test_statuses.py numbers_and_texts_are_those_of_workflows idle_is_held_back_for_half_a_second
            each_is_told_within_six_seconds_and_never_many_at_once
        unit/test_cluster.py what_zocalo_adds_comes_from_the_environment
        process/test_wrap.py what_a_job_does_is_broadcast
        beside/test_processes.py each_side_sees_and_stops_the_other
            status_monitor_of_workflows_shows_our_workers
    """,
    "commands by broadcast": """
        process/test_cluster.py a_broadcast_shutdown_drains_and_the_daemon_does_not_restart_it
        unit/test_cluster.py each_filter_of_a_command_must_match
        brokers/test_cluster.py plain_workflows_hears_our_workers_and_we_hear_it
    """,
    "metrics": """
        unit/test_metrics.py every_name_of_the_peers_is_there_with_their_label
        process/test_metrics.py counts_are_exact_and_outlive_workers_and_relay_and_code
    """,
    "fields of log records": """
        process/test_site_logs.py records_reach_graylog_as_the_site_wants_them
        unit/test_gelf.py fields_are_those_of_graypy
        unit/test_pipes.py fields
        process/test_log_outlets.py the_journal_gets_fields json_lines_in_a_file_of_its_own
    """,
    "traces of OpenTelemetry: plugin, attributes, context in headers": """
        process/test_tracing.py a_recipe_is_one_trace_through_the_relay
            a_trace_goes_on_that_came_from_elsewhere a_collector_that_is_away_holds_up_nothing_and_is_one_line
        unit/test_site_configuration.py where_spans_go
    """,
    "services that move one by one, and back": """
        beside/test_migration.py a_site_moves_service_by_service_and_back
        beside/test_processes.py zocalo_service_and_ours_share_the_work_and_stand_by_for_each_other
    """,
    "workflows 3.3 and 3.7": """
        beside/test_services.py zocalo_services samples_of_workflows
        unit/test_dispatcher.py node_zero_works_with_every_version_of_workflows
        brokers/test_transport.py a_message_without_headers_works
        process/test_worker_relay.py foreign_interpreter_with_the_real_transport
    """,
    # -- What services in the wild do
    "transactions with checkpoint and delay": """
        process/test_wild.py checkpoints_with_a_delay_in_a_transaction
    """,
    "exclusive consumers as leaders": """
        brokers/test_transport.py an_exclusive_consumer_gets_all_until_it_goes
        process/test_dispatcher.py one_of_two_instances_writes
    """,
    "`prefetch_count` 65535 with an idle timer": """
        process/test_idle.py a_service_that_is_never_idle_writes_what_it_has_collected
    """,
    "msgpack in place of JSON": """
        process/test_wild.py msgpack_instead_of_json
        brokers/test_transport.py bodies_are_bytes_before_mangling
    """,
    "two transports in one process": """
        brokers/test_site_daemon.py a_service_opens_a_connection_of_its_own_by_the_plugin_of_the_site
            services_on_either_broker_and_a_bridge_between_survive_kills
        brokers/test_bridge.py a_settlement_waits_for_what_the_other_transport_has_sent
    """,
    "callbacks of hours": """
        brokers/test_rabbitmq_outages.py a_callback_longer_than_the_heartbeat_costs_no_connection
        brokers/test_activemq_outages.py heart_beats_go_on_while_a_callback_takes_long
        process/test_hangs.py a_long_callback_under_the_limit_or_with_progress_is_left_alone
    """,
    "a message held until the next one has come": """
        process/test_wild.py one_message_is_held_until_the_second_comes
    """,
    "a service that never leaves `initializing()`": """
        process/test_wild.py a_service_that_never_leaves_initializing
    """,
}

DEFECTS = {
    "1: a send to a queue that is missing is reported as sent": """
        brokers/test_rabbitmq.py what_leads_nowhere_is_refused_and_nothing_else
        brokers/test_transport.py a_message_that_is_refused_takes_its_delivery_to_the_dead_letters
    """,
    "2: after a transaction, later sends are lost": """
        brokers/test_transport.py what_is_sent_after_a_transaction_arrives
    """,
    "3: a delay without the delayed exchange, or half a second of expiration: sent, and lost": """
        brokers/test_rabbitmq.py delay_without_the_plugin
        brokers/test_transport.py delay expiration_may_be_a_fraction
    """,
    "4: a broadcast to an exchange that is missing kills the transport": """
        brokers/test_rabbitmq.py a_missing_exchange_harms_only_what_goes_there
        brokers/test_cluster.py a_broker_without_the_exchanges_gets_one_warning_and_no_flood
    """,
    "5: a restart of the broker ends every service": """
        brokers/test_rabbitmq.py death_and_return_of_the_broker
        process/test_soak_rabbitmq.py deaths_of_rabbitmq_lose_nothing
        process/test_soak_activemq.py deaths_of_activemq_lose_nothing
    """,
    "6: no second try of the first connection; a second `connect()` raises": """
        brokers/test_rabbitmq.py a_broker_that_is_away_at_the_start
        brokers/test_transport.py connecting_twice_and_disconnecting_twice
    """,
    "7: an ack after `unsubscribe` raises KeyError; acks are not checked": """
        brokers/test_transport.py unsubscribe_gives_back_what_waits
            acknowledging_twice_is_an_error_and_harms_nothing acknowledging_needs_ids
    """,
    "8: two transports in one process share their subscriptions": """
        brokers/test_transport.py two_transports_share_nothing
        brokers/test_bridge.py a_settlement_is_not_taken_for_one_of_the_other_transport
    """,
    "9: a message that is rejected comes back at once, without end": """
        brokers/test_transport.py nack_dead_letters nack_with_requeue_delivers_again
        brokers/test_rabbitmq.py what_is_put_back_waits_longer_each_time
        brokers/test_activemq.py what_is_put_back_waits_longer_each_time_and_keeps_nothing_from_coming
    """,
    "10: STOMP has one host, no heart-beats, no second connection": """
        brokers/test_activemq_outages.py a_host_that_cannot_be_reached_or_found_is_left_for_the_next
            a_half_open_connection_is_found_by_heart_beats nothing_is_lost_when_the_broker_is_killed
    """,
    "11: SIGTERM leaves a child consuming": """
        process/test_daemon.py sigterm_drains_and_leaves_nothing
        process/test_guarantees.py nobody_outlives_a_supervisor_that_is_killed_and_nothing_is_lost
        process/test_strays.py nothing_outlives_a_supervisor_that_is_killed
    """,
    "12: a shutdown by broadcast kills in the middle of a message": """
        process/test_cluster.py a_broadcast_shutdown_drains_and_the_daemon_does_not_restart_it
        process/test_guarantees.py a_worker_that_stops_finishes_settles_and_says_goodbye
    """,
    "13: the liveness endpoint takes a whole core, and never answers for a stopped service": """
        process/test_metrics.py health_is_progress_and_a_stopped_service_is_answered_for
        unit/test_health.py one_that_somebody_has_stopped_is_answered_for_and_does_not_count_for_the_whole
    """,
    "14: restarts come every 5 s, for ever": """
        process/test_misbehaviour_deaths.py crash_loop_ends_at_the_limit_with_a_reason
        unit/test_restart.py the_delays_double the_limit
    """,
    "15: two processes and two connections for each service": """
        brokers/test_site_daemon.py a_worker_is_one_process_without_a_connection_of_its_own
    """,
    "16: a queue without bound in each service": """
        process/test_relay.py a_worker_that_does_not_read_gets_no_more_and_harms_nobody
        unit/test_dispatch.py the_broker_is_not_asked_for_more_bytes_than_the_relay_wants_to_hold
    """,
    "16: idle timers starve under load": """
        process/test_idle.py a_service_that_is_never_idle_writes_what_it_has_collected
        unit/test_idle.py a_timer_runs_between_messages_when_it_is_overdue
    """,
    "16: an exception that nobody catches ends the service": """
        process/test_misbehaviour_deaths.py unhandled_exception
        process/test_crashes.py only_the_message_that_kills_is_blamed
    """,
    "17: a message without headers ends the service": """
        brokers/test_transport.py a_message_without_headers_works
    """,
    "18: reinjecting drops what an exchange had brought, and the only copy": """
        brokers/test_rabbitmq_browse.py a_letter_that_an_exchange_had_brought_goes_back_to_its_queue_alone
            a_letter_that_cannot_be_sent_back_stays
        unit/test_letterfile.py a_file_of_zocalo_whose_message_came_by_an_exchange_goes_back_to_its_queue
        process/test_letter_files.py files_go_where_they_came_from_and_only_then_away
            purge_and_reinject_are_a_round_trip_by_a_pipe
    """,
    "19: a job that has failed exits with 0": """
        process/test_wrap.py a_failure_is_told_and_seen_in_the_exit_status
    """,
    "19: half a drop file can be picked up": """
        process/test_drain.py pickup_submits_oldest_first_what_go_has_dropped
        unit/test_files.py a_file_is_there_whole_or_not_at_all a_disk_that_is_full_leaves_nothing
    """,
    "20: `transaction_begin()` without a subscription, then an ack in it, is refused": """
        brokers/test_transport.py acknowledging_in_a_transaction
        process/test_wild.py one_message_is_held_until_the_second_comes
    """,
}

TROUBLES = {
    "messages that are no JSON, of wrong types, without keys, with cyclic recipes, nodes without a queue": """
        process/test_malformed.py every_kind_is_a_dead_letter_and_the_service_goes_on
            the_quarantine_takes_whatever_others_put_back
        process/test_dispatcher.py malformed_messages_are_dead_letters_and_the_services_stay
        machines/test_services.py the_dispatcher_settles_every_message_once
            the_mailer_settles_every_message_once jsonlines_settles_every_message_once
    """,
    "messages of 50 MB": """
        process/test_malformed.py fifty_megabytes_are_a_dead_letter
            the_quarantine_takes_whatever_others_put_back
    """,
    "the mail server is down": """
        process/test_mailer.py mails_wait_while_the_server_is_away a_server_that_sends_everybody_away_is_away
            what_is_held_outlives_the_worker
    """,
    "Graylog is down": """
        process/test_site_logs.py graylog_away_holds_up_nothing_and_is_one_line
    """,
    "the recipe directory cannot be read": """
        process/test_dispatcher_site.py a_recipe_directory_that_is_away_for_a_while
            a_recipe_directory_that_may_not_be_read_for_a_while
    """,
    "the disk of the logbook is full": """
        process/test_dispatcher_site.py a_full_disk_under_logbook_and_results
    """,
    "the management API refuses": """
        brokers/test_rabbitmq_browse.py an_api_that_refuses_is_one_line_and_the_known_queues
        brokers/test_configure_rabbitmq.py a_refusal_says_what_was_made_before
            an_api_that_is_not_there_or_is_none
    """,
}


def ids(proofs: str) -> list[tuple[str, str]]:
    """Return the tests of an entry: file below `tests`, and name."""
    found: list[tuple[str, str]] = []
    file = ""
    for word in proofs.split():
        if word.endswith(".py"):
            file = word
        else:
            found.append((file, f"test_{word}"))
    return found
