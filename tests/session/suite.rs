//! The list of cases, made into tests of one fabric.

macro_rules! sessions {
    // The attribute goes to every test.
    ($attribute:tt) => {
        sessions!($attribute: cases {
            established_whoever_comes_first,
            four_steps_are_timed_and_the_key_is_told,
            different_keys_are_told_on_both_sides,
            a_key_on_one_side_is_told_on_both,
            versions_that_do_not_meet_are_named_on_both_sides,
            the_highest_common_version_is_taken,
            a_node_of_another_cluster_is_told_as_such,
            another_node_at_the_partners_address_is_told_as_such,
            a_restarted_partner_is_met_again_with_its_new_incarnation,
            who_leaves_is_told_apart_from_who_dies,
            ports_of_a_lost_session_refuse_every_request,
            more_memory_than_a_node_gives_is_refused_to_that_client_alone,
            a_client_the_partner_lacks_is_told_and_the_others_go_on,
            boot_stage_is_seen_before_any_session,
            an_address_is_held_by_one_node_at_a_time,
            control_threads_open_a_session_and_leave_it,
            a_partner_of_ones_own_name_is_refused,
        });
        sessions!($attribute: renewal {
            a_port_that_a_bad_request_ended_is_had_anew,
            ports_asked_for_by_both_at_once_come_once,
            a_port_is_had_anew_again_and_again,
            a_port_that_cannot_be_had_anew_is_an_error_value,
        });
        sessions!($attribute: stream { several_clients_stream_through_several_ports_at_once });
    };
    ($attribute:tt: $module:ident { $($name:ident),* $(,)? }) => {
        $(
            #[test]
            #$attribute
            fn $name() {
                crate::$module::$name();
            }
        )*
    };
}
