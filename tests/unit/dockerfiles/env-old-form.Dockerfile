FROM a
ENV ONE two three
ENV TWO   many   gaps   kept
ENV THREE "quoted text" and more
ENV FOUR it's = fine
ENV FIVE /a:/b:$PATH
ENV SIX	tabbed	value
