int time_enter(void);
void time_leave(void);
