FROM a
RUN <<-END
	one
		two
	END
RUN <<-'END'
	three
  END
	END
RUN <<END
	END
 END
END
