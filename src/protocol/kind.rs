//! The packet kinds: number, name and how many arguments each carries. One table; nothing else lists them.

macro_rules! kinds {
    ($($number:literal $variant:ident $name:literal $arguments:literal;)*) => {
        /// What a packet is. Numbers, names and argument counts are those of the protocol reference, section 2.1.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u32)]
        pub enum Kind {
            $(#[doc = concat!("Packet ", stringify!($number), ", ", $name, ".")] $variant = $number,)*
        }

        impl Kind {
            /// Every kind, by number.
            pub const ALL: &'static [Kind] = &[$(Kind::$variant,)*];

            /// The kind with this number, if the protocol has one.
            pub fn from_number(number: u32) -> Option<Kind> {
                match number {
                    $($number => Some(Kind::$variant),)*
                    _ => None,
                }
            }

            /// The name in the protocol's documents.
            pub fn name(self) -> &'static str {
                match self {
                    $(Kind::$variant => $name,)*
                }
            }

            /// How many arguments the body holds. All but the last end with a NUL byte; the last runs to the end.
            pub fn arguments(self) -> usize {
                match self {
                    $(Kind::$variant => $arguments,)*
                }
            }
        }
    };
}

kinds! {
    1 CanDo "CAN_DO" 1;
    2 CantDo "CANT_DO" 1;
    3 ResetAbilities "RESET_ABILITIES" 0;
    4 PreSleep "PRE_SLEEP" 0;
    5 Unused "UNUSED" 0;
    6 Noop "NOOP" 0;
    7 SubmitJob "SUBMIT_JOB" 3;
    8 JobCreated "JOB_CREATED" 1;
    9 GrabJob "GRAB_JOB" 0;
    10 NoJob "NO_JOB" 0;
    11 JobAssign "JOB_ASSIGN" 3;
    12 WorkStatus "WORK_STATUS" 3;
    13 WorkComplete "WORK_COMPLETE" 2;
    14 WorkFail "WORK_FAIL" 1;
    15 GetStatus "GET_STATUS" 1;
    16 EchoReq "ECHO_REQ" 1;
    17 EchoRes "ECHO_RES" 1;
    18 SubmitJobBg "SUBMIT_JOB_BG" 3;
    19 Error "ERROR" 2;
    20 StatusRes "STATUS_RES" 5;
    21 SubmitJobHigh "SUBMIT_JOB_HIGH" 3;
    22 SetClientId "SET_CLIENT_ID" 1;
    23 CanDoTimeout "CAN_DO_TIMEOUT" 2;
    24 AllYours "ALL_YOURS" 0;
    25 WorkException "WORK_EXCEPTION" 2;
    26 OptionReq "OPTION_REQ" 1;
    27 OptionRes "OPTION_RES" 1;
    28 WorkData "WORK_DATA" 2;
    29 WorkWarning "WORK_WARNING" 2;
    30 GrabJobUniq "GRAB_JOB_UNIQ" 0;
    31 JobAssignUniq "JOB_ASSIGN_UNIQ" 4;
    32 SubmitJobHighBg "SUBMIT_JOB_HIGH_BG" 3;
    33 SubmitJobLow "SUBMIT_JOB_LOW" 3;
    34 SubmitJobLowBg "SUBMIT_JOB_LOW_BG" 3;
    35 SubmitJobSched "SUBMIT_JOB_SCHED" 8;
    36 SubmitJobEpoch "SUBMIT_JOB_EPOCH" 4;
    37 SubmitReduceJob "SUBMIT_REDUCE_JOB" 5;
    38 SubmitReduceJobBackground "SUBMIT_REDUCE_JOB_BACKGROUND" 5;
    39 GrabJobAll "GRAB_JOB_ALL" 0;
    40 JobAssignAll "JOB_ASSIGN_ALL" 5;
    41 GetStatusUnique "GET_STATUS_UNIQUE" 1;
    42 StatusResUnique "STATUS_RES_UNIQUE" 6;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_run_from_1_to_42_without_a_gap() {
        let numbers: Vec<u32> = Kind::ALL.iter().map(|kind| *kind as u32).collect();
        assert_eq!(numbers, (1..=42).collect::<Vec<_>>());
        assert!(Kind::ALL.iter().all(|kind| Kind::from_number(*kind as u32) == Some(*kind)));
        assert_eq!([0, 43, 0x8000_0000, u32::MAX].map(Kind::from_number), [None; 4]);
    }
}
